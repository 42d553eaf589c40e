"""uvicorn as Muster's servers use it: its connections, its patience, and how it ends."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import ssl
import threading
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import uvicorn

from muster.serving.answers import LOG, Answered, Refuse
from muster.serving.connections import ACCEPTED_AT_ONCE, Connections, room
from muster.serving.http_protocol import HttpProtocol, Patience
from muster.serving.websocket_protocol import MAX_MESSAGE_BYTES

BACKLOG = 128
"""Connections that wait in the kernel to be accepted."""
EXPIRY_SECONDS = 1.0
"""Seconds between two looks for connections whose deadline has passed."""
DRAIN_SECONDS = 8
"""Seconds for which answers are waited for once the server is to stop: less than Docker's 10."""


@dataclass(frozen=True)
class Serving:
    """What an application decides about its server. `refuse` makes the answers that the application cannot.

    `websockets` are the paths of WebSockets; `drain` is how many seconds running answers have once the server is to
    stop. With `tls` the server speaks TLS.
    """

    refuse: Refuse
    answered: Answered = LOG.answered
    websockets: frozenset[str] = frozenset()
    patience: Patience = field(default_factory=Patience)
    drain: int = DRAIN_SECONDS
    tls: ssl.SSLContext | None = None


class HttpServer(uvicorn.Server):
    """uvicorn, which ends quietly when it is asked to, and keeps the connections' deadlines.

    `drains` is set once the server begins to end.
    """

    def __init__(
        self,
        application: Any,
        serving: Serving,
        connections: Connections | None = None,
        drains: threading.Event | None = None,
    ) -> None:
        self._open = connections or Connections(room())
        self._drains = drains or threading.Event()
        protocol: Any = functools.partial(
            HttpProtocol,
            connections=self._open,
            patience=serving.patience,
            refuse=serving.refuse,
            answered=serving.answered,
            websockets=serving.websockets,
        )
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
            ws_max_size=MAX_MESSAGE_BYTES,
            ws_ping_interval=None,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=serving.drain,
        )
        config.load()
        config.ssl = serving.tls
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
