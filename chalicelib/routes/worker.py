"""What workers call again and again (docs/protocol.md, What a worker calls)."""

from __future__ import annotations

from typing import Any

from chalicelib.operations import queue
from chalicelib.reconcile import reports
from chalicelib.routes.http import Call, route
from chalicelib.workers import heartbeat
from muster.api import messages as m
from muster.api.errors import ApiError


@route("heartbeat")
def beat(call: Call) -> Any:
    try:
        body = call.body(m.Heartbeat)
    except ApiError:
        call.authenticate()  # a body that cannot be read must not hide a bad credential
        raise
    return heartbeat.receive(call.ids["worker_id"], call.secret, body, call.now)


@route("report")
def report(call: Call) -> Any:
    body, ids = call.body(m.Report), call.ids
    if call.by.provisional:
        return reports.ignored(ids["worker_id"], ids["deployment_id"], body)
    return reports.report(ids["worker_id"], ids["deployment_id"], body, call.by.label, call.now)


@route("result")
def result(call: Call) -> Any:
    body, ids = call.body(m.Result), call.ids
    if call.by.provisional:
        return queue.ignored(ids["worker_id"], ids["command_id"], body)
    return queue.settle(ids["worker_id"], ids["command_id"], body, call.now)
