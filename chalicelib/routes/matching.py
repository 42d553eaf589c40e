"""Which route a path names, by the path as it was sent: segments stay percent-encoded, and none is empty.

Some proxies decode %2F on the way (nginx, where `proxy_pass` has a path). A name with slashes, which is the end of its
path, then comes as several segments; no other route is as long.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from muster.api.errors import ApiError

WITH_SLASHES = frozenset({"{model}", "{image_id}"})
"""Parameters whose values have slashes: `org/model`, `registry/image:tag`."""

PARAMETER, END = "{}", "/"
"""Keys of the tree that no segment of a path is: a parameter of any name, and the route that ends here."""


class MethodNotAllowed(ApiError):
    """`allowed` are the methods that the route has."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self.allowed = ", ".join(sorted(allowed))
        super().__init__("METHOD_NOT_ALLOWED", f"this route takes {self.allowed}")


class Routes:
    """Routes as a tree of their segments: a literal segment is tried before a parameter."""

    def __init__(self, routes: Iterable[str]) -> None:
        self._root: dict[str, Any] = {}
        self._with_slashes: list[tuple[str, list[str]]] = []
        for route in routes:
            segments = route.removesuffix("/").split("/")
            node = self._root
            for segment in segments:
                node = node.setdefault(PARAMETER if segment.startswith("{") else segment, {})
            node.setdefault(END, (route, [segment[1:-1] for segment in segments if segment.startswith("{")]))
            if segments[-1] in WITH_SLASHES:
                self._with_slashes.append((route, segments))

    def match(self, path: str) -> tuple[str, dict[str, str]]:
        """The route's template and what stands in the place of each of its parameters. Raises ApiError
        ROUTE_NOT_FOUND.
        """
        segments = path.removesuffix("/").split("/")
        found = _descend(self._root, segments, 0, [])
        if found is not None:
            return found
        for route, expected in self._with_slashes:
            captured = _captured(expected, _joined(segments, len(expected)))
            if captured is not None:
                return route, captured
        raise ApiError("ROUTE_NOT_FOUND", "there is no such route; GET /api/openapi.json lists them")


def match(routes: Iterable[str], path: str) -> tuple[str, dict[str, str]]:
    """`Routes.match` among `routes`."""
    return _tree(tuple(routes)).match(path)


@lru_cache(maxsize=16)
def _tree(routes: tuple[str, ...]) -> Routes:
    return Routes(routes)


def _descend(
    node: dict[str, Any], segments: list[str], at: int, captured: list[str]
) -> tuple[str, dict[str, str]] | None:
    if at == len(segments):
        if END not in node:
            return None
        route, names = node[END]
        return route, dict(zip(names, captured, strict=True))
    segment = segments[at]
    if segment in node and segment not in (END, PARAMETER):
        found = _descend(node[segment], segments, at + 1, captured)
        if found is not None:
            return found
    if segment and PARAMETER in node:
        return _descend(node[PARAMETER], segments, at + 1, [*captured, segment])
    return None


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
