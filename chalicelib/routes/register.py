"""What makes a host a worker (docs/protocol.md, What a worker calls): the call that a worker makes rarely."""

from __future__ import annotations

from typing import Any

from chalicelib.routes.http import Call, route
from chalicelib.workers import registration
from muster.api import messages as m


@route("register")
def register(call: Call) -> Any:
    return registration.register(call.body(m.Registration), call.bearer, call.now)
