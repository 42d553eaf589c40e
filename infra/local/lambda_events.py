"""API Gateway's part of a local request: routes and methods, refused in this API's own error shape."""

from __future__ import annotations

from urllib.parse import parse_qs

from chalice.app import Chalice
from chalice.config import Config
from chalice.local import LambdaEventConverter, LocalGateway, MatchResult, RouteMatcher

from chalicelib.routes.matching import MethodNotAllowed, match


class Routes(RouteMatcher):
    def match_route(self, url: str) -> MatchResult:
        """Raises ApiError ROUTE_NOT_FOUND."""
        path, _, query = url.partition("?")
        route, captured = match(self.route_urls, path)
        return MatchResult(route, captured, parse_qs(query, keep_blank_values=True))


class Gateway(LocalGateway):
    def __init__(self, app: Chalice, config: Config) -> None:
        super().__init__(app, config)
        self._routes = Routes(list(app.routes))
        self.event_converter = LambdaEventConverter(self._routes, app.api.binary_types)

    def check(self, method: str, path: str) -> None:
        """Raises ApiError ROUTE_NOT_FOUND or MethodNotAllowed."""
        methods = self._app_object.routes[self._routes.match_route(path).route]
        if method not in methods:
            raise MethodNotAllowed(methods)
