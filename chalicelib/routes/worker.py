"""What workers call again and again (docs/protocol.md, What a worker calls)."""

from __future__ import annotations

from typing import Any

import msgspec

from chalicelib.operations import queue
from chalicelib.reconcile import reports
from chalicelib.routes.http import Call, route
from chalicelib.workers import heartbeat
from muster.api import messages as m
from muster.api import usage
from muster.api.errors import ApiError


class _Form(msgspec.Struct):
    """Enough of a heartbeat to see whether it is a short one."""

    unchanged: Any = None


@route("heartbeat")
def beat(call: Call) -> Any:
    worker_id, secret = call.ids["worker_id"], call.secret
    try:
        body = call.body(m.Heartbeat) if call.body(_Form).unchanged is None else _short(call)
    except ApiError:
        call.authenticate()  # a body that cannot be read must not hide a bad credential
        raise
    if isinstance(body, m.ShortHeartbeat):
        return heartbeat.receive_short(worker_id, secret, body, call.now)
    return heartbeat.receive(worker_id, secret, body, call.now)


def _short(call: Call) -> m.ShortHeartbeat:
    """Raises INVALID_REQUEST."""
    body = call.body(m.ShortHeartbeat)
    try:
        usage.check(body.usage)
    except ValueError as error:
        raise ApiError("INVALID_REQUEST", f"usage: {error}") from error
    return body


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
