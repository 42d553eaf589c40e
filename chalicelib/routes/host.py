"""Containers, images and storage of one worker: worker-api.md's routes that look synchronous, and their kin."""

from __future__ import annotations

from typing import Any

from chalicelib.deployments import intents, views
from chalicelib.fleet import workers
from chalicelib.routes.http import Call, ask, route
from chalicelib.workers import admin
from muster.api import resources as r
from muster.api.errors import ApiError


@route("container_logs")
def container_logs(call: Call) -> Any:
    query = call.params(r.LogsQuery)
    return _logs(call, call.ids["worker_id"], call.ids["container_id"], query)


@route("deployment_logs")
def deployment_logs(call: Call) -> Any:
    query = call.params(r.LogsQuery)
    deployment = intents.load(call.ids["deployment_id"])
    kept = views.kept_logs(deployment, call.now)
    if kept is not None:
        return kept
    worker_id = deployment.worker_id or deployment.leaving
    if worker_id is None:
        raise ApiError("CONTAINER_NOT_FOUND", "the deployment has had no container yet: it waits for a place")
    container = deployment.container_id or deployment.deployment_id
    try:
        return _logs(call, worker_id, container, query)
    except ApiError as error:
        if error.error_code != "WORKER_NOT_FOUND":
            raise
        raise ApiError("CONTAINER_NOT_FOUND", "its worker was removed, and nobody can be asked for its log") from error


def _logs(call: Call, worker_id: str, container_id: str, query: r.LogsQuery) -> Any:
    since = query.since
    if since and "T" in since:
        since = since.replace(" ", "+")  # an unescaped + of a time zone is a space in a query string
    wanted = {"container_id": container_id, "lines": query.lines, "since": since}
    return ask(call, worker_id, "container_logs", wanted, query.wait)


@route("list_images")
def list_images(call: Call) -> Any:
    worker_id, query = call.ids["worker_id"], call.params(r.ReportQuery)
    workers.get(worker_id)
    last = None if query.fresh else admin.last_images(worker_id, call.now)
    return last or ask(call, worker_id, "list_images", {}, query.wait)


@route("pull_image")
def pull_image(call: Call) -> Any:
    query, body = call.params(r.PullQuery), call.body(r.PullRequest)
    return ask(call, call.ids["worker_id"], "pull_image", {"image": body.image}, query.wait)


@route("delete_image")
def delete_image(call: Call) -> Any:
    query = call.params(r.DeleteImageQuery)
    wanted = {"image_id": call.ids["image_id"], "force": query.force}
    return ask(call, call.ids["worker_id"], "delete_image", wanted, query.wait)


@route("disk_usage")
def disk_usage(call: Call) -> Any:
    worker_id, query = call.ids["worker_id"], call.params(r.ReportQuery)
    worker = workers.get(worker_id)
    last = None if query.fresh else admin.last_disk(worker, call.now)
    return last or ask(call, worker_id, "disk_usage", {}, query.wait)


@route("prune")
def prune(call: Call) -> Any:
    query, body = call.params(r.WaitQuery), call.body(r.PruneRequest)
    wanted = {name: getattr(body, name) for name in body.__struct_fields__}
    return ask(call, call.ids["worker_id"], "prune", wanted, query.wait)


@route("list_containers")
def list_containers(call: Call) -> Any:
    return ask(call, call.ids["worker_id"], "list_containers", {}, call.params(r.WaitQuery).wait)


@route("stop_container")
def stop_container(call: Call) -> Any:
    wanted = {"container_id": call.ids["container_id"]}
    return ask(call, call.ids["worker_id"], "stop_container", wanted, call.params(r.WaitQuery).wait)


@route("list_models")
def list_models(call: Call) -> Any:
    return ask(call, call.ids["worker_id"], "list_models", {}, call.params(r.WaitQuery).wait)


@route("delete_model")
def delete_model(call: Call) -> Any:
    wanted = {"model": call.ids["model"]}
    return ask(call, call.ids["worker_id"], "delete_model", wanted, call.params(r.WaitQuery).wait)
