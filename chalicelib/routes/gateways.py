"""What gateways call, and what concerns them (docs/protocol.md, Gateways)."""

from __future__ import annotations

from typing import Any

from chalicelib.gateways import records, routes, usage_sums, worker_gateways
from chalicelib.routes.http import Call, route
from chalicelib.store.items import find
from chalicelib.store.tables import WorkerHeartbeat
from muster.api import gateways as g
from muster.api import messages as m
from muster.api import resources as r


@route("register_gateway")
def register_gateway(call: Call) -> Any:
    return records.register(call.body(g.GatewayRegistration), call.by, call.now)


@route("leave_gateway")
def leave_gateway(call: Call) -> Any:
    records.say_goodbye(call.ids["gateway_id"], call.by)
    return r.Nothing()


@route("list_gateways")
def list_gateways(call: Call) -> Any:
    return records.shown(call.now)


@route("gateway_routes")
def gateway_routes(call: Call) -> Any:
    return routes.current(call.params(g.RoutesQuery), call.now)


@route("report_usage")
def report_usage(call: Call) -> Any:
    return g.UsageStored(usage_sums.store(call.body(g.UsageReport), call.now))


@route("usage")
def usage(call: Call) -> Any:
    return usage_sums.usage(call.params(g.UsageQuery), call.now)


@route("worker_gateways")
def of_worker(call: Call) -> Any:
    """A client that registered provisionally is not the worker yet, and gets no ticket."""
    worker_id = call.ids["worker_id"]
    heartbeat = find(WorkerHeartbeat, worker_id)
    if heartbeat is None or call.by.provisional:
        return m.Gateways()
    return worker_gateways.of(worker_id, int(heartbeat.session), call.now)
