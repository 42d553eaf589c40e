"""A connection that became a WebSocket: uvicorn's protocol, which takes no more than the other end takes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

MAX_MESSAGE_BYTES = 1024 * 1024
LINGER_SECONDS = 15.0
"""How long what was sent last may take to arrive: longer than uvicorn waits for the other end's close."""
MAX_UNSENT_BYTES = 4 * 1024 * 1024
"""Bytes that wait for an end that does not read. Pings are answered at once, so an end could ask for any number."""


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """`ended` is called once the connection is over."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop,
        ended: Callable[[], None],
    ) -> None:
        super().__init__(config, server_state, app_state, loop)
        self._ended = ended

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        found = transport.get_extra_info("socket")
        if found is not None and found.family in (socket.AF_INET, socket.AF_INET6):
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.transport.abort()

    async def run_asgi(self) -> None:
        """Run the application, and end the connection after it, also if the other end takes nothing any more."""
        await super().run_asgi()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._ended()
