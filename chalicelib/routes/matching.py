"""Which route a path names, by the path as it was sent: segments stay percent-encoded, and none is empty."""

from __future__ import annotations

from collections.abc import Iterable

from chalicelib.contract.errors import ApiError


class MethodNotAllowed(ApiError):
    """`allowed` are the methods that the route has."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self.allowed = ", ".join(sorted(allowed))
        super().__init__("METHOD_NOT_ALLOWED", f"this route takes {self.allowed}")


def match(routes: Iterable[str], path: str) -> tuple[str, dict[str, str]]:
    """The route's template and what stands in the place of each of its parameters. Raises ApiError ROUTE_NOT_FOUND."""
    segments = path.removesuffix("/").split("/")
    for route in routes:
        captured = _captured(route.removesuffix("/").split("/"), segments)
        if captured is not None:
            return route, captured
    raise ApiError("ROUTE_NOT_FOUND", "there is no such route; GET /api/openapi.json lists them")


def _captured(route: list[str], segments: list[str]) -> dict[str, str] | None:
    if len(route) != len(segments):
        return None
    captured = {}
    for expected, segment in zip(route, segments, strict=True):
        if expected.startswith("{"):
            if not segment:
                return None
            captured[expected[1:-1]] = segment
        elif expected != segment:
            return None
    return captured
