"""A replica that the gateway reaches without a tunnel, because an operator pinned its worker's address.

Each address that a name resolves to is checked, and the connection goes to the address that was checked. Redirects and
the environment's proxies are not followed.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from muster.api import addresses
from muster.api.addresses import Kind
from muster.gateway.upstream import Broken, Headers, Unavailable, UpstreamRequest, UpstreamResponse
from muster.model_http.model_connection import ModelConnection, host_header, request
from muster.model_http.model_pool import Address, ModelPool
from muster.tunnel import headers as passing

RESOLVED_FOR_SECONDS = 30.0
RESOLVE_SECONDS = 5.0
MAX_HELD_BYTES = 64 * 1024
PORTS = {"http": 80, "https": 443}


class Direct:
    """The pinned endpoints of all replicas: kept connections, and what their names resolved to."""

    def __init__(self) -> None:
        self._pool = ModelPool()
        self._resolved: dict[tuple[str, int], tuple[float, list[str]]] = {}
        self._tls = ssl.create_default_context()

    def upstream(self, endpoint: str, key: str | None) -> DirectUpstream:
        return DirectUpstream(self, urlsplit(endpoint), key)

    def kept(self, address: Address, now: float) -> ModelConnection | None:
        return self._pool.kept(address, now)

    async def opened(self, address: Address) -> ModelConnection:
        """Raises OSError."""
        return await self._pool.opened(address)

    def keep(self, address: Address, connection: ModelConnection, now: float) -> None:
        self._pool.keep(address, connection, now)

    async def address(self, url: SplitResult) -> Address:
        """Where to connect. Raises Unavailable."""
        host, port = url.hostname or "", url.port or PORTS.get(url.scheme, 80)
        for found in await self._addresses(host, port):
            if addresses.of_ip(ip_address(found)).kind in (Kind.ORDINARY, Kind.LOOPBACK):
                is_tls = url.scheme == "https"
                return found, port, self._tls if is_tls else None, host if is_tls else None
        raise Unavailable("forbidden-address", f"{host} leads to no address that a model may have")

    async def _addresses(self, host: str, port: int) -> list[str]:
        """What the name resolves to; the last answers are kept for a while. Raises Unavailable."""
        loop = asyncio.get_running_loop()
        known = self._resolved.get((host, port))
        if known is not None and loop.time() - known[0] < RESOLVED_FOR_SECONDS:
            return known[1]
        try:
            asking = loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers = await asyncio.wait_for(asking, RESOLVE_SECONDS)
        except (OSError, UnicodeError, asyncio.TimeoutError) as error:
            raise Unavailable("resolve", f"{host} cannot be resolved") from error
        found = [str(answer[4][0]) for answer in answers if "%" not in str(answer[4][0])]
        self._resolved[host, port] = loop.time(), found
        return found


class DirectUpstream:
    def __init__(self, direct: Direct, url: SplitResult, key: str | None) -> None:
        self._direct, self._url, self._key = direct, url, key

    async def send(self, wanted: UpstreamRequest) -> UpstreamResponse:
        """Raises Unavailable."""
        loop = asyncio.get_running_loop()
        address = await self._direct.address(self._url)
        path = self._url.path.rstrip("/").encode() + wanted.path
        host = host_header(self._url.hostname or "", address[1])
        sent = request(host, self._key, wanted.method, path, wanted.headers, wanted.body)
        connection = self._direct.kept(address, loop.time())
        while True:
            was_kept = connection is not None
            if connection is None:
                try:
                    connection = await self._direct.opened(address)
                except OSError as error:
                    raise Unavailable("connect", f"the model does not accept connections: {error}") from error
            answer = DirectResponse(self._direct, address, connection)
            connection.ask(sent, answer)
            try:
                if await answer.has_head():
                    return answer
            except BaseException:
                answer.cancel()
                raise
            if not was_kept:
                raise Unavailable("unreachable", "the model ended the connection without an answer")
            connection = None  # a kept connection may have ended just as it was used


class DirectResponse:
    """What arrives on a connection: the asker of `ModelConnection`, and the reader's view."""

    def __init__(self, direct: Direct, address: Address, connection: ModelConnection) -> None:
        self._direct, self._address, self._connection = direct, address, connection
        self.status = 0
        self.headers: Headers = []
        self._parts: deque[bytes] = deque()
        self._held = 0
        self._has_ended = self._is_broken = False
        self._waiter: asyncio.Future[None] | None = None

    def on_head(self, status: int, headers: Headers) -> None:
        self.status, self.headers = status, passing.from_model(headers)
        self._wake()

    def on_body(self, data: bytes) -> None:
        self._parts.append(data)
        self._held += len(data)
        if self._held >= MAX_HELD_BYTES:
            self._connection.pause()
        self._wake()

    def on_end_of_answer(self) -> None:
        self._has_ended = True
        self._direct.keep(self._address, self._connection, asyncio.get_running_loop().time())
        self._wake()

    def on_unanswered(self) -> None:
        self.on_broken()

    def on_broken(self) -> None:
        self._is_broken = True
        self._wake()

    async def has_head(self) -> bool:
        """Wait for the head of the answer. False where none came."""
        while not self.status and not self._is_broken:
            await self._arrival()
        return bool(self.status)

    async def read(self) -> bytes:
        """Raises Broken."""
        while not self._parts:
            if self._has_ended:
                return b""
            if self._is_broken:
                raise Broken("model-lost", "the answer ended early: the connection to the model was lost")
            await self._arrival()
        data = b"".join(self._parts)
        self._parts.clear()
        self._held = 0
        if not self._has_ended:
            self._connection.resume()
        return data

    def cancel(self) -> None:
        if not self._has_ended and not self._is_broken:
            self._is_broken = True
            self._connection.close()

    async def _arrival(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
