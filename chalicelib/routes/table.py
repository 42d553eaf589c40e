"""Every route of the app, and the module that has its handler.

Nearly every function is started by a heartbeat. So a cold start imports the handlers of what workers call again and
again, and every other module of routes is imported by the first request that needs it (docs/adr/0044).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from chalice.app import Chalice, Response

from chalicelib.routes import http
from muster.api.endpoints import ENDPOINTS, Access, Endpoint
from muster.api.structs import Value

READ = ("GET", "HEAD")
OF_GATEWAYS = frozenset(
    "register_gateway leave_gateway list_gateways gateway_routes report_usage usage worker_gateways".split()
)
"""Endpoints of the module `gateways`."""


class Page(Value, frozen=True):
    """A route for browsers or hosts, which is not in the API's document: `handler` is a function of `module`."""

    path: str
    module: str
    handler: str
    methods: tuple[str, ...] = ("GET",)


PAGES = (
    Page("/join.sh", "install", "join"),
    Page("/muster.whl", "install", "wheel"),
    Page("/wheels/{name}", "install", "of_hosts"),
    Page("/", "console", "page", READ),
    Page("/console/{version}/{name}", "console", "file", READ),
    Page("/console/{version}/vendor/{name}", "console", "vendored", READ),
)


def register(app: Chalice) -> None:
    """Give the app all routes, and import the handlers of what workers call again and again."""
    for endpoint in ENDPOINTS:
        _route(app, endpoint.path, [endpoint.method], endpoint.name, _endpoint_view(app, endpoint))
    for page in PAGES:
        _route(app, page.path, list(page.methods), page.handler, _page_view(app, page))
    _imported("worker")


def import_all() -> None:
    """Import every handler: where threads answer requests, all structs are read first (muster/api/structs.py)."""
    for module in {module_of(endpoint) for endpoint in ENDPOINTS} | {page.module for page in PAGES}:
        _imported(module)


def module_of(endpoint: Endpoint) -> str:
    """Returns the module of this package that has the endpoint's handler."""
    if endpoint.name in OF_GATEWAYS:
        return "gateways"
    if endpoint.access is Access.WORKER:
        return "worker"
    if endpoint.name == "register":
        return "register"
    return "host" if endpoint.waits else "operator"


def _endpoint_view(app: Chalice, endpoint: Endpoint) -> Callable[..., Response]:
    def view(**ids: str) -> Response:
        if endpoint.name not in http.HANDLERS:
            _imported(module_of(endpoint))
        return http.answer(endpoint, app.current_request, ids)

    return view


def _page_view(app: Chalice, page: Page) -> Callable[..., Response]:
    def view(**ids: str) -> Response:
        handler = getattr(_imported(page.module), page.handler)
        request: Any = app.current_request
        return http.guarded(page.handler, lambda: http.negotiated(handler(request, **ids), request.headers))

    return view


def _route(app: Chalice, path: str, methods: list[str], name: str, view: Callable[..., Response]) -> None:
    view.__name__ = name
    app.route(path, methods=methods, content_types=["*/*"], name=name)(view)


def _imported(module: str) -> object:
    return import_module(f"{__package__}.{module}")
