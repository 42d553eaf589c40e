"""What a host installs itself with: a script for people (ADR 11), and the wheels that it fetches (ADR 35)."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from chalice.app import Response

from chalicelib.routes import wheels
from chalicelib.routes.wheels import OwnWheel, Wheel
from muster.api.errors import ApiError

STATIC = wheels.STATIC
BINARY = "application/octet-stream"
TEXT = "text/plain; charset=utf-8"
LIST, LIST_END = "requirements-", ".txt"
"""Around a platform: the name of its list."""


def join(request: Any) -> Response:
    return Response((STATIC / "join.sh").read_text(), {"Content-Type": TEXT})


def wheel(request: Any) -> Response:
    """Raises ApiError ROUTE_NOT_FOUND, INVALID_REQUEST."""
    return _wheel(request, own_wheel())


def of_hosts(request: Any, name: str) -> Response:
    """A platform's list, or a file that a list names. Every other name is refused before any file is opened."""
    name, own = unquote(name), own_wheel()
    if name == own.file:
        return _wheel(request, own)
    if name.startswith(LIST) and name.endswith(LIST_END):
        text = wheels.requirements(name.removeprefix(LIST).removesuffix(LIST_END), own)
        if text is not None:
            return Response(text, {"Content-Type": TEXT})
        raise ApiError("ROUTE_NOT_FOUND", f"there are no wheels for that platform, only for {wheels.supported()}")
    found = wheels.lock().named(name)
    if found is None:
        raise ApiError(
            "ROUTE_NOT_FOUND",
            "no host needs a file of that name; "
            f"/wheels/{LIST}{wheels.lock().platforms[0]}{LIST_END} lists the files of a platform",
        )
    return _wheel(request, found)


def own_wheel(static: Path = STATIC) -> Wheel:
    """Raises ApiError ROUTE_NOT_FOUND."""
    found = wheels.own(static)
    if found is None:
        raise ApiError("ROUTE_NOT_FOUND", "this control plane was started without the wheel for hosts: run make wheel")
    return found


def _wheel(request: Any, wheel: Wheel) -> Response:
    """The own wheel where it is a file of this control plane, and every other from where the wheels are.

    Raises ApiError ROUTE_NOT_FOUND, INVALID_REQUEST.
    """
    place = wheels.Place.of_this_process()
    with contextlib.suppress(FileNotFoundError):
        if isinstance(wheel, OwnWheel):
            return _file(request, wheel.file, (STATIC / wheel.file).read_bytes())
    if place.bucket:
        return Response("", {"Location": place.url(wheel), "Cache-Control": "no-store"}, 302)
    content = place.read(wheel)
    if content is None:
        raise ApiError(
            "ROUTE_NOT_FOUND",
            "this control plane does not have this wheel for hosts: run `make wheelhouse` where the control plane runs",
        )
    return _file(request, wheel.file, content)


def _file(request: Any, name: str, content: bytes) -> Response:
    """API Gateway sends bytes as such only to callers whose Accept header names their type.

    Raises ApiError INVALID_REQUEST.
    """
    if BINARY not in request.headers.get("accept", ""):
        raise ApiError("INVALID_REQUEST", f"send the header `Accept: {BINARY}`; /join.sh does")
    disposition = f'attachment; filename="{name}"'
    return Response(content, {"Content-Type": BINARY, "Content-Disposition": disposition})
