"""Which route a path names, by the path as it was sent: segments stay percent-encoded, and none is empty.

Some proxies decode %2F on the way (nginx, where `proxy_pass` has a path). A name with slashes, which is the end of its
path, then comes as several segments; no other route is as long.
"""

from __future__ import annotations

from collections.abc import Iterable

from muster.api.errors import ApiError

WITH_SLASHES = frozenset({"{model}", "{image_id}"})
"""Parameters whose values have slashes: `org/model`, `registry/image:tag`."""


class MethodNotAllowed(ApiError):
    """`allowed` are the methods that the route has."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self.allowed = ", ".join(sorted(allowed))
        super().__init__("METHOD_NOT_ALLOWED", f"this route takes {self.allowed}")


def match(routes: Iterable[str], path: str) -> tuple[str, dict[str, str]]:
    """The route's template and what stands in the place of each of its parameters. Raises ApiError ROUTE_NOT_FOUND."""
    segments = path.removesuffix("/").split("/")
    known = {route: route.removesuffix("/").split("/") for route in routes}
    for route, expected in known.items():
        captured = _captured(expected, segments)
        if captured is not None:
            return route, captured
    for route, expected in known.items():
        captured = _captured(expected, _joined(segments, len(expected))) if expected[-1] in WITH_SLASHES else None
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


def _joined(segments: list[str], length: int) -> list[str]:
    """As many segments as `length`, the last with the slashes that a proxy decoded. Steps up and gaps stay apart."""
    last = segments[length - 1 :]
    if any(segment in ("", ".", "..") for segment in last):
        return segments
    return [*segments[: length - 1], "%2F".join(last)]
