"""uvicorn as the app should be served: its connections, its threads, and how it ends."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn
from chalice.app import Chalice

from chalicelib.routes.http import CLOCK, Clock
from chalicelib.store import settings
from infra.local.asgi import INLINE, Application
from infra.local.connections import ACCEPTED_AT_ONCE, Connections, room
from infra.local.durability import Grouped
from infra.local.http_protocol import HttpProtocol, Patience
from infra.local.threads import Threads

if TYPE_CHECKING:
    from infra.local.dynamodb import Engine

BACKLOG = 128
"""Connections that wait in the kernel to be accepted."""
EXPIRY_SECONDS = 1.0
"""Seconds between two looks for connections whose deadline has passed."""
DRAIN_SECONDS = 8
"""Seconds for which answers are waited for once the server is to stop: less than Docker's 10."""
SPARE_THREADS = 16
"""Threads for requests beside those that wait for workers."""


class HttpServer(uvicorn.Server):
    """uvicorn, which ends quietly when it is asked to, and keeps the connections' deadlines.

    `drains` is set once the server begins to end.
    """

    def __init__(
        self,
        application: Any,
        connections: Connections | None = None,
        patience: Patience | None = None,
        drains: threading.Event | None = None,
    ) -> None:
        self._open = connections or Connections(room())
        self._drains = drains or threading.Event()
        protocol: Any = functools.partial(HttpProtocol, connections=self._open, patience=patience or Patience())
        config = uvicorn.Config(
            application,
            http=protocol,
            loop="asyncio",
            ws="none",
            lifespan="off",
            interface="asgi3",
            backlog=ACCEPTED_AT_ONCE,
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            headers=[("server", "muster")],
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(BACKLOG)  # uvicorn's own number is also how many connections are accepted at once
        self._expiry = asyncio.create_task(self._expire())

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(EXPIRY_SECONDS)
            self._open.expire(asyncio.get_running_loop().time())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._drains.set()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal lets what is being answered be answered; the second ends the process."""
        if self.should_exit:
            os._exit(1)
        super().handle_exit(sig, frame)


def http_server(app: Chalice, engine: Engine | None) -> HttpServer:
    """A server of the app that has yet to be given its sockets."""
    drains = threading.Event()

    def sleep(seconds: float) -> None:
        drains.wait(seconds)  # a wait for a worker ends when the server does

    clock = Clock(sleep=sleep)
    threads = Threads(settings.MAX_WAITS + SPARE_THREADS, lambda: CLOCK.set(clock))
    application = Application(app, threads, INLINE, Grouped(engine)) if engine else Application(app, threads)
    return HttpServer(application, drains=drains)
