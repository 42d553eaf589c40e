"""The tunnels of a gateway: who may open one, which are open, and the WebSocket that carries each.

    dialed ──► ticket is good ──► open ──► the agent leaves, falls silent, or its ticket ends ──► closed
       └─────► refused (close code)   │
                                      └─── a newer session, or a third connection: the older one closes

A tunnel announces its ticket and nothing else: which deployment is on which worker is known from the routes alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from muster.api import tickets
from muster.api.tickets import BadTicket, Claims
from muster.gateway.tunnel_upstream import TunnelUpstream
from muster.gateway.upstream import Upstream
from muster.tunnel.carrier import Carrier
from muster.tunnel.protocol import CONNECTIONS, MAX_MESSAGE_BYTES, MAX_TEXT_BYTES, SUBPROTOCOL, Close

log = logging.getLogger(__name__)

MAX_TUNNELS = 10_000
MAX_REMEMBERED_SESSIONS = 20_000
SAY_WHY_SECONDS = 2.0
MAX_REASON = 120
"""Bytes of the reason that a WebSocket's close has, at most."""
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Refused(Exception):
    """A tunnel that may not be opened, with the code that its agent is told."""

    def __init__(self, code: Close, message: str) -> None:
        super().__init__(message)
        self.code = code


class Tunnel:
    """One open WebSocket, and the ticket that it has shown last."""

    def __init__(self, claims: Claims, send: Send) -> None:
        self.claims = claims
        self._close: tuple[Close, str] | None = None
        self._send = send
        self.carrier = Carrier(self._send_bytes)

    @property
    def streams(self) -> int:
        return len(self.carrier.link.streams)

    @property
    def has_ended(self) -> bool:
        """Its connection is over, or about to close: its streams are lost, and it takes no others."""
        return self.carrier.ended is not None

    def close(self, code: Close, reason: str) -> None:
        """End the tunnel soon, with this code; its streams are lost now."""
        self._close = self._close or (code, reason)
        self.carrier.end(reason)

    async def run(self) -> None:
        """Send what there is, until the tunnel closes."""
        await self.carrier.write()

    async def say_why(self) -> None:
        """Tell the agent why the tunnel has closed, unless it takes nothing any more."""
        code, reason = self._close or (Close.LOST, self.carrier.ended or "")
        message = {"type": "websocket.close", "code": int(code), "reason": reason[:MAX_REASON]}
        with suppress(asyncio.TimeoutError, TimeoutError):
            await asyncio.wait_for(self._send(message), SAY_WHY_SECONDS)

    async def _send_bytes(self, data: bytes) -> None:
        await self._send({"type": "websocket.send", "bytes": data})


class Tunnels:
    """`keys` returns the ticket keys that are valid now, by version.

    `counts_expiry`: whether a ticket's expiry ends its tunnel now, which it does not while the control plane that would
    renew it is out of reach. `clock` is epoch seconds.
    """

    def __init__(
        self,
        audience: str,
        keys: Callable[[], Mapping[int, bytes]],
        clock: Callable[[], float],
        counts_expiry: Callable[[float], bool] = lambda expires: True,
        most: int = MAX_TUNNELS,
    ) -> None:
        self._audience, self._keys, self._clock = audience, keys, clock
        self._counts_expiry, self._most = counts_expiry, most
        self._open: dict[str, list[Tunnel]] = defaultdict(list)
        self._sessions: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._is_ending = False
        self.count = 0
        """Open connections."""

    # What the proxy asks

    @property
    def workers(self) -> int:
        """How many workers have a tunnel."""
        return len(self._open)

    def has(self, worker_id: str) -> bool:
        return worker_id in self._open

    def upstream(self, worker_id: str) -> Upstream | None:
        """The connection of the worker with the fewest streams; None without one."""
        found = [tunnel for tunnel in self._open.get(worker_id, ()) if not tunnel.has_ended]
        return TunnelUpstream(min(found, key=lambda tunnel: tunnel.streams)) if found else None

    async def wait_change(self) -> None:
        """Wait until a tunnel is opened or ends."""
        await self._changed.wait()

    # What the control plane decides

    def check(self) -> None:
        """Close the tunnels whose ticket has ended; every few seconds."""
        for tunnel in [tunnel for tunnels in self._open.values() for tunnel in tunnels]:
            if self._has_ended(tunnel.claims):
                tunnel.close(Close.BAD_TICKET, "the ticket has expired")

    def close_all(self, code: Close, reason: str) -> None:
        """End all tunnels; with GOING, no others are opened."""
        self._is_ending |= code is Close.GOING
        for tunnel in [tunnel for tunnels in self._open.values() for tunnel in tunnels]:
            tunnel.close(code, reason)

    def _has_ended(self, claims: Claims) -> bool:
        return claims.expires <= self._clock() and self._counts_expiry(claims.expires)

    def _read(self, ticket: str) -> Claims:
        """Raises Refused."""
        try:
            claims = tickets.read(ticket, self._keys(), self._audience)
        except BadTicket as error:
            raise Refused(Close.BAD_TICKET, str(error)) from error
        if claims.issued > self._clock() + tickets.MAX_CLOCK_SKEW_SECONDS or self._has_ended(claims):
            raise Refused(Close.BAD_TICKET, "the ticket has expired, or is from the future")
        if claims.session < self._sessions.get(claims.worker_id, 0):
            raise Refused(Close.SUPERSEDED, "a newer session of this worker was here")
        return claims

    # The WebSocket

    async def connect(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve a WebSocket of ASGI, from its handshake to its end."""
        if (await receive())["type"] != "websocket.connect":
            return
        try:
            claims = self._admitted(scope)
        except Refused as refused:
            # Accepted first, since a refused handshake has no room for a code that agents could read.
            await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
            await send({"type": "websocket.close", "code": int(refused.code), "reason": str(refused)})
            return
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
        tunnel = Tunnel(claims, send)
        self._add(tunnel)
        reader = asyncio.create_task(self._read_all(tunnel, receive))
        try:
            await tunnel.run()
        finally:
            self._remove(tunnel)
            tunnel.close(Close.LOST, "the connection has ended")
            reader.cancel()
        await tunnel.say_why()

    def _admitted(self, scope: Message) -> Claims:
        """Raises Refused."""
        if SUBPROTOCOL not in scope.get("subprotocols", ()):
            raise Refused(Close.BAD_TICKET, f"expected the subprotocol {SUBPROTOCOL}")
        if self._is_ending:
            raise Refused(Close.GOING, "this gateway is ending")
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, ticket = given[0].decode("latin-1").partition(" ") if len(given) == 1 else ("", "", "")
        if scheme.lower() != "bearer":
            raise Refused(Close.BAD_TICKET, "expected a ticket as Bearer")
        claims = self._read(ticket)
        if self.count >= self._most:
            raise Refused(Close.GOING, "this gateway has as many tunnels as it takes")
        return claims

    async def _read_all(self, tunnel: Tunnel, receive: Receive) -> None:
        while tunnel.carrier.ended is None:
            message = await receive()
            if message["type"] != "websocket.receive":
                tunnel.close(Close.LOST, "the agent has left")
                return
            try:
                self._take(tunnel, message)
            except Refused as error:
                tunnel.close(error.code, str(error))

    def _take(self, tunnel: Tunnel, message: Message) -> None:
        """Raises Refused."""
        data, text = message.get("bytes"), message.get("text")
        if text is not None:
            if len(text) > MAX_TEXT_BYTES:
                raise Refused(Close.BAD_TICKET, "the message is too long for a ticket")
            claims = self._read(text)
            if claims.worker_id != tunnel.claims.worker_id:
                raise Refused(Close.BAD_TICKET, "the ticket is another worker's")
            tunnel.claims = claims
        elif data is not None:
            if len(data) > MAX_MESSAGE_BYTES:
                raise Refused(Close.LOST, "the message is too long")
            tunnel.carrier.receive(data)

    def _add(self, tunnel: Tunnel) -> None:
        claims = tunnel.claims
        before = self._open[claims.worker_id]
        for other in [other for other in before if other.claims.session < claims.session]:
            other.close(Close.SUPERSEDED, "a newer session of this worker is here")
            self._drop(other)
        before = self._open[claims.worker_id]
        while len(before) >= CONNECTIONS:
            before[0].close(Close.REPLACED, "a newer connection of this worker took its place")
            self._drop(before[0])
        before.append(tunnel)
        self.count += 1
        self._remember(claims)
        self._tell()

    def _remember(self, claims: Claims) -> None:
        """The newest session of each worker, of those that were here last."""
        self._sessions.pop(claims.worker_id, None)
        self._sessions[claims.worker_id] = claims.session
        while len(self._sessions) > MAX_REMEMBERED_SESSIONS:
            del self._sessions[next(iter(self._sessions))]

    def _drop(self, tunnel: Tunnel) -> None:
        self._open[tunnel.claims.worker_id].remove(tunnel)
        self.count -= 1

    def _remove(self, tunnel: Tunnel) -> None:
        worker_id = tunnel.claims.worker_id
        if tunnel in self._open.get(worker_id, ()):
            self._drop(tunnel)
        if not self._open.get(worker_id):
            self._open.pop(worker_id, None)
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
