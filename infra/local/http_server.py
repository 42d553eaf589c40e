"""The app on Muster's HTTP server: its threads, and what ends a wait."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

from chalice.app import Chalice

from chalicelib.routes.http import CLOCK, Clock
from chalicelib.store import settings
from infra.local.answers import refused
from infra.local.asgi import INLINE, Application
from infra.local.durability import Grouped
from infra.local.threads import Threads
from muster.serving.http_server import HttpServer, Serving
from muster.tunnel.protocol import PATH as TUNNEL

if TYPE_CHECKING:
    from infra.local.dynamodb import Engine
    from infra.local.embedded_gateway import EmbeddedGateway

SPARE_THREADS = 16
"""Threads for requests beside those that wait for workers."""


class LocalServer(HttpServer):
    """The server of `serve`; with `gateway`, models are served beside the API."""

    def __init__(self, application: Any, gateway: EmbeddedGateway | None, drains: threading.Event) -> None:
        self._gateway = gateway
        if gateway is None:
            super().__init__(application, Serving(refused), drains=drains)
        else:
            from infra.local.embedded_gateway import refuse

            serving = Serving(refuse, websockets=frozenset((TUNNEL,)))
            super().__init__(gateway.beside(application), serving, drains=drains)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._gateway is not None:
            await self._gateway.start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """The gateway ends first: its last report goes to this server."""
        if self._gateway is not None:
            await self._gateway.stop()
        await super().shutdown(sockets)


def http_server(app: Chalice, engine: Engine | None, gateway: EmbeddedGateway | None = None) -> LocalServer:
    """A server of the app that has yet to be given its sockets."""
    drains = threading.Event()

    def sleep(seconds: float) -> None:
        drains.wait(seconds)  # a wait for a worker ends when the server does

    clock = Clock(sleep=sleep)
    threads = Threads(settings.MAX_WAITS + SPARE_THREADS, lambda: CLOCK.set(clock))
    application = Application(app, threads, INLINE, Grouped(engine)) if engine else Application(app, threads)
    return LocalServer(application, gateway, drains)
