"""What a host installs itself with: a script for people and the wheel that it fetches (docs/adr/0011)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from chalice.app import Blueprint, Response

from chalicelib.routes.http import guarded
from muster.api.errors import ApiError
from muster.api.version import WHEEL

STATIC = Path(__file__).parents[1] / "static"
BINARY = "application/octet-stream"

blueprint = Blueprint(__name__)


def page(path: str) -> Callable[[Callable[[], Response]], Callable[[], Response]]:
    """Serve `view` to anyone who gets `path`. It may raise ApiError."""

    def register(view: Callable[[], Response]) -> Callable[[], Response]:
        def answer() -> Response:
            return guarded(view.__name__, view)

        blueprint.route(path, methods=["GET"], content_types=["*/*"], name=view.__name__)(answer)
        return view

    return register


@page("/join.sh")
def join() -> Response:
    return Response((STATIC / "join.sh").read_text(), {"Content-Type": "text/plain; charset=utf-8"})


@page("/muster.whl")
def wheel() -> Response:
    """API Gateway sends bytes as such only to callers whose Accept header names their type."""
    request: Any = blueprint.current_request
    if BINARY not in request.headers.get("accept", ""):
        raise ApiError("INVALID_REQUEST", f"send the header `Accept: {BINARY}`; /join.sh does")
    found = wheel_in(STATIC)
    disposition = f'attachment; filename="{found.name}"'
    return Response(found.read_bytes(), {"Content-Type": BINARY, "Content-Disposition": disposition})


def wheel_in(folder: Path) -> Path:
    """Raises ApiError ROUTE_NOT_FOUND."""
    found = next(folder.glob(WHEEL), None)
    if found is None:
        raise ApiError("ROUTE_NOT_FOUND", "this control plane was started without the wheel for hosts: run make wheel")
    return found
