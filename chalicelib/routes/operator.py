"""What operators call (docs/protocol.md, What operators call)."""

from __future__ import annotations

from typing import Any

from chalice.app import Response

from chalicelib.auth import tokens
from chalicelib.deployments import intents, views
from chalicelib.fleet import workers
from chalicelib.gateways import records
from chalicelib.operations import queue
from chalicelib.routes.http import Call, dump, route
from chalicelib.store import events
from chalicelib.store.items import find
from chalicelib.store.tables import Brake
from chalicelib.telemetry import discovery, exposition, metrics, snapshot
from chalicelib.workers import admin
from muster.api import openapi
from muster.api import resources as r
from muster.api.version import VERSION


@route("create_token")
def create_token(call: Call) -> Any:
    return tokens.create_token(call.body(r.NewRegistrationToken), call.by, call.now, call.once)


@route("list_tokens")
def list_tokens(call: Call) -> Any:
    return tokens.list_tokens(call.params(r.PageQuery))


@route("revoke_token")
def revoke_token(call: Call) -> Any:
    return tokens.revoke_token(call.ids["token_id"], call.by, call.now)


@route("create_key")
def create_key(call: Call) -> Any:
    return tokens.create_key(call.body(r.NewApiKey), call.by, call.now, call.once)


@route("list_keys")
def list_keys(call: Call) -> Any:
    return tokens.list_keys(call.params(r.KeysQuery), call.by)


@route("revoke_key")
def revoke_key(call: Call) -> Any:
    revoked = tokens.revoke_key(call.ids["key_id"], call.by, call.now)
    if revoked.role == "gateway":
        records.forget_key(revoked.key_id)
    return revoked


@route("whoami")
def whoami(call: Call) -> Any:
    return tokens.who_is(call.by)


@route("list_workers")
def list_workers(call: Call) -> Any:
    return admin.list_(call.params(r.PageQuery), call.now)


@route("get_worker")
def get_worker(call: Call) -> Any:
    return admin.get(call.ids["worker_id"], call.now)


@route("patch_worker")
def patch_worker(call: Call) -> Any:
    return admin.patch(call.ids["worker_id"], call.body(r.WorkerPatch), call.by, call.now)


@route("remove_worker")
def remove_worker(call: Call) -> Any:
    return admin.remove(call.ids["worker_id"], call.params(r.ForceQuery).force, call.by.label, call.now)


@route("lose_worker")
def lose_worker(call: Call) -> Any:
    return admin.lose(call.ids["worker_id"], call.by, call.now)


@route("create_deployment")
def create_deployment(call: Call) -> Any:
    made = intents.create(call.body(r.NewDeployment), call.by, call.now, call.once)
    return views.one(made, call.by, call.now)


@route("list_deployments")
def list_deployments(call: Call) -> Any:
    return views.several(call.params(r.DeploymentsQuery), call.by, call.now)


@route("get_deployment")
def get_deployment(call: Call) -> Any:
    return views.one(intents.load(call.ids["deployment_id"]), call.by, call.now)


@route("patch_deployment")
def patch_deployment(call: Call) -> Any:
    body = call.body(r.DeploymentPatch)
    changed = intents.patch(call.ids["deployment_id"], body, call.by, call.now)
    return views.one(changed, call.by, call.now)


@route("delete_deployment")
def delete_deployment(call: Call) -> Any:
    return views.one(intents.delete(call.ids["deployment_id"], call.by, call.now), call.by, call.now)


@route("stop_deployment")
def stop_deployment(call: Call) -> Any:
    return views.one(intents.stop(call.ids["deployment_id"], call.by, call.now, call.once), call.by, call.now)


@route("start_deployment")
def start_deployment(call: Call) -> Any:
    return views.one(intents.start(call.ids["deployment_id"], call.by, call.now, call.once), call.by, call.now)


@route("restart_deployment")
def restart_deployment(call: Call) -> Any:
    return views.one(intents.restart(call.ids["deployment_id"], call.by, call.now, call.once), call.by, call.now)


@route("deployment_events")
def deployment_events(call: Call) -> Any:
    query = call.params(r.EventsQuery)
    intents.load(call.ids["deployment_id"])
    return events.timeline([call.ids["deployment_id"]], query, call.now)


@route("worker_events")
def worker_events(call: Call) -> Any:
    query = call.params(r.EventsQuery)
    workers.get(call.ids["worker_id"])
    return events.timeline([call.ids["worker_id"]], query, call.now)


@route("events")
def all_events(call: Call) -> Any:
    return events.timeline(events.SHARDS, call.params(r.EventsQuery), call.now)


@route("list_operations")
def list_operations(call: Call) -> Any:
    return queue.open_of(call.ids["worker_id"], call.now)


@route("get_operation")
def get_operation(call: Call) -> Any:
    return queue.view(queue.load(call.ids["operation_id"], call.now))


@route("cancel_operation")
def cancel_operation(call: Call) -> Any:
    return queue.view(queue.cancel(call.ids["operation_id"], call.by.label, call.now))


@route("fleet")
def fleet(call: Call) -> Any:
    found, age = snapshot.SHARED.since(call.params(r.FleetQuery), call.now)
    return dump(found, headers={"Age": str(int(age))})


@route("metrics")
def scrape(call: Call) -> Any:
    groups = metrics.groups(call.params(r.MetricsQuery))
    text = exposition.text(metrics.families_of(snapshot.SHARED.fleet(call.now), groups))
    return Response(text, {"Content-Type": exposition.CONTENT_TYPE})


@route("discover")
def discover(call: Call) -> Any:
    return discovery.targets(call.now)


@route("health")
def health(call: Call) -> Any:
    find(Brake, "sweep", "brake")
    return r.Health("ok", VERSION)


@route("openapi")
def openapi_document(call: Call) -> Any:
    return dump(openapi.document(VERSION))
