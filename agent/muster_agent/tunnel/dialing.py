"""A connection to a gateway: dialed, kept, and dialed again when it is lost.

dial ──► open ──► lost ──► wait: short at first, so that agents are soon back after a gateway's restart ──► dial
  └── refused by its code: a longer wait, until there is another ticket
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import socket
import ssl
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

from muster.api.connection import cause
from muster.tunnel.carrier import Carrier
from muster.tunnel.link import Headers, Stream
from muster.tunnel.protocol import MAX_MESSAGE_BYTES, PATH, SUBPROTOCOL, Close
from muster_agent.config import is_loopback

log = logging.getLogger(__name__)

OPEN_SECONDS = 10.0
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.1, 30.0
GROWTH = 1.5
REFUSED_WAIT_SECONDS = 15.0
SUPERSEDED_WAIT_SECONDS = 300.0


class NotDialed(Exception):
    """The gateway must not, or cannot, be dialed; the message says why."""


def websocket_url(url: str, *, insecure: bool = False) -> str:
    """The address of a gateway's tunnel. Raises NotDialed for plain HTTP to another host."""
    parts = urlsplit(url)
    if parts.scheme == "http" and not insecure and not is_loopback(parts.hostname or ""):
        raise NotDialed(f"{url} would show the models' traffic to the network: give the gateway a https URL")
    scheme = "wss" if parts.scheme == "https" else "ws"
    return f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}{PATH}"


def tls_context(environment: Mapping[str, str]) -> ssl.SSLContext:
    """The system's authorities, or those that the environment names, as for the control plane. Raises NotDialed."""
    named = environment.get("REQUESTS_CA_BUNDLE") or environment.get("CURL_CA_BUNDLE")
    try:
        context = ssl.create_default_context()
        if named:
            if os.path.isdir(named):
                context.load_verify_locations(capath=named)
            else:
                context.load_verify_locations(cafile=named)
    except (OSError, ssl.SSLError) as error:
        raise NotDialed(f"the authorities in {named or 'SSL_CERT_FILE'} cannot be read: {error}") from error
    return context


class Dialer:
    """One connection to one gateway. `ticket` returns the latest one. `accept` takes the gateway's requests."""

    def __init__(
        self, url: str, ticket: Callable[[], str], accept: Callable[[Stream, Headers], None], *, insecure: bool = False
    ) -> None:
        self._url, self._ticket, self._accept, self._insecure = url, ticket, accept, insecure
        self._renewed = asyncio.Event()
        self._wait = FIRST_WAIT_SECONDS
        self._problem: str | None = None

    def renewed(self) -> None:
        """There is another ticket: an open connection shows it, and a refused one is dialed again."""
        self._renewed.set()

    async def run(self) -> None:
        """Keep the connection until this is cancelled."""
        while True:
            try:
                pause = await self._keep()
            except (NotDialed, OSError, WebSocketException, ssl.SSLError, asyncio.TimeoutError) as error:
                pause = self._lost(_why(error, self._url))
            self._renewed.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._renewed.wait(), pause)

    def _lost(self, problem: str, least: float = 0.0) -> float:
        """Log a problem once, and return the seconds to wait."""
        if problem != self._problem:
            log.warning("no tunnel to %s: %s", self._url, problem[:300])
            self._problem = problem
        wait = max(least, self._wait)
        self._wait = min(self._wait * GROWTH, LONGEST_WAIT_SECONDS)
        return wait * random.uniform(0.5, 1.0)

    async def _keep(self) -> float:
        """Dial, and serve until the connection ends. Returns the seconds to wait. Raises what dialing raises."""
        address = websocket_url(self._url, insecure=self._insecure)
        ticket = self._ticket()
        async with connect(
            address,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers={"Authorization": f"Bearer {ticket}"},
            user_agent_header="muster-agent",
            compression=None,
            ssl=tls_context(os.environ) if address.startswith("wss:") else None,
            open_timeout=OPEN_SECONDS,
            close_timeout=1.0,
            ping_interval=None,
            max_size=MAX_MESSAGE_BYTES,
        ) as websocket:
            set_no_delay(websocket)
            return await self._serve(websocket, ticket)

    async def _serve(self, websocket: ClientConnection, ticket: str) -> float:
        carrier = Carrier(websocket.send, self._accept)
        sending = asyncio.create_task(self._send(carrier, websocket))
        renewing = asyncio.create_task(self._renew(websocket, ticket))
        try:
            async for message in websocket:
                if isinstance(message, bytes):
                    self._opened()
                    carrier.receive(message)
                if carrier.ended is not None:
                    break
        finally:
            carrier.end("the connection to the gateway was lost")
            for task in (sending, renewing):
                task.cancel()
            await asyncio.gather(sending, renewing, return_exceptions=True)
        return self._closed(websocket.close_code, websocket.close_reason or carrier.ended or "")

    def _opened(self) -> None:
        """The gateway has sent something: the ticket is good."""
        if self._problem is not None or self._wait > FIRST_WAIT_SECONDS:
            log.info("tunnel to %s is open", self._url)
        self._problem, self._wait = None, FIRST_WAIT_SECONDS

    def _closed(self, code: int | None, reason: str) -> float:
        if code == Close.SUPERSEDED:
            return self._lost(reason, SUPERSEDED_WAIT_SECONDS)
        if code in (Close.BAD_TICKET, Close.NOT_WANTED, Close.REPLACED):
            return self._lost(reason, REFUSED_WAIT_SECONDS)
        return self._lost(reason or "the connection has ended")

    async def _send(self, carrier: Carrier, websocket: ClientConnection) -> None:
        try:
            await carrier.write()
        except ConnectionClosed:
            carrier.end("the connection to the gateway was lost")
        await websocket.close()

    async def _renew(self, websocket: ClientConnection, shown: str) -> None:
        """Show each later ticket."""
        while True:
            if (ticket := self._ticket()) != shown:
                await websocket.send(ticket)
                shown = ticket
            await self._renewed.wait()
            self._renewed.clear()


def _why(error: Exception, url: str) -> str:
    """What to mend, where that is known; else what the library says."""
    known = cause(error, url, os.environ)
    if isinstance(error, NotDialed):
        return str(error)
    if known.kind != "other":
        return str(known)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def set_no_delay(websocket: ClientConnection) -> None:
    """A token must not wait for the acknowledgment of the one before."""
    found = websocket.transport.get_extra_info("socket")
    if found is not None and found.family in (socket.AF_INET, socket.AF_INET6):
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
