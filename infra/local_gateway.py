"""API Gateway's part of a local request: routes and methods, refused in this API's own error shape."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from chalice.app import Chalice
from chalice.config import Config
from chalice.local import LambdaEventConverter, LocalGateway, MatchResult, RouteMatcher

from chalicelib.contract.errors import ApiError


class MethodNotAllowed(ApiError):
    """`allowed` are the methods that the route has."""

    def __init__(self, allowed: list[str]) -> None:
        super().__init__("METHOD_NOT_ALLOWED", f"this route takes {', '.join(allowed)}")
        self.allowed = allowed


class Routes(RouteMatcher):
    """Matches the path as it was sent: segments stay percent-encoded, and none is empty."""

    def match_route(self, url: str) -> MatchResult:
        """Raises ApiError ROUTE_NOT_FOUND."""
        path, _, query = url.partition("?")
        segments = path.removesuffix("/").split("/")
        for route in self.route_urls:
            captured = _captured(route.removesuffix("/").split("/"), segments)
            if captured is not None:
                return MatchResult(route, captured, parse_qs(query, keep_blank_values=True))
        raise ApiError("ROUTE_NOT_FOUND", "there is no such route; GET /api/openapi.json lists them")


class Gateway(LocalGateway):
    def __init__(self, app: Chalice, config: Config) -> None:
        super().__init__(app, config)
        self._routes = Routes(list(app.routes))
        self.event_converter = LambdaEventConverter(self._routes, app.api.binary_types)

    def check(self, method: str, path: str) -> None:
        """Raises ApiError ROUTE_NOT_FOUND or MethodNotAllowed."""
        methods = self._app_object.routes[self._routes.match_route(path).route]
        if method not in methods:
            raise MethodNotAllowed(sorted(methods))


def _captured(route: list[str], segments: list[str]) -> dict[str, Any] | None:
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
