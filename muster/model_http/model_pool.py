"""Kept connections to models."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import defaultdict

from muster.model_http.model_connection import ModelConnection

Address = tuple[str, int, ssl.SSLContext | None, str | None]
"""Host, port, and for TLS the context and the name that the certificate must have."""

IDLE_SECONDS = 3.0
"""Less than the 5 seconds after which uvicorn, which serves vLLM, closes a connection that is not used."""
MOST_IDLE = 64
CONNECT_SECONDS = 5.0


class ModelPool:
    """Connections by address. Those that were not used for a while are closed when the next one is asked for."""

    def __init__(self) -> None:
        self._idle: dict[Address, list[ModelConnection]] = defaultdict(list)

    def kept(self, address: Address, now: float) -> ModelConnection | None:
        """A connection that was used before, if there is a fresh one. `now`: monotonic seconds."""
        idle = self._idle[address]
        while idle:
            connection = idle.pop()
            if connection.is_reusable and now - connection.idle_since < IDLE_SECONDS:
                return connection
            connection.close()
        return None

    async def opened(self, address: Address) -> ModelConnection:
        """A new connection. Raises OSError."""
        loop = asyncio.get_running_loop()
        try:
            host, port, context, name = address
            connecting = loop.create_connection(ModelConnection, host, port, ssl=context, server_hostname=name)
            transport, connection = await asyncio.wait_for(connecting, CONNECT_SECONDS)
        except asyncio.TimeoutError as error:
            raise OSError("it did not accept the connection in time") from error
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def keep(self, address: Address, connection: ModelConnection, now: float) -> None:
        """Take back a connection whose answer has ended, if another request may be sent on it."""
        idle = self._idle[address]
        if connection.is_reusable and len(idle) < MOST_IDLE:
            connection.idle_since = now
            idle.append(connection)
        elif connection.is_reusable:
            connection.close()

    def forget(self, kept: set[Address]) -> None:
        """Close the connections to every address but these."""
        for address in self._idle.keys() - kept:
            for connection in self._idle.pop(address):
                connection.close()
