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
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

from muster.api.connection import CA_VARIABLES, cause
from muster.tunnel.carrier import Carrier
from muster.tunnel.link import Headers, Stream
from muster.tunnel.protocol import MAX_MESSAGE_BYTES, PATH, SUBPROTOCOL, Close
from muster_agent.config import is_loopback
from muster_agent.tunnel.proxies import Proxy, UnusableProxy, proxy_for

log = logging.getLogger(__name__)

OPEN_SECONDS, CLOSE_SECONDS = 10.0, 1.0
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.1, 30.0
GROWTH = 1.5
REFUSED_WAIT_SECONDS = 15.0
SUPERSEDED_WAIT_SECONDS = 300.0
OWN_OF_OPENSSL = "SSL_CERT_FILE"
MAX_PROBLEM = 600
"""Characters of a problem in the log, at most."""


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
    """Trusts the system's authorities, and all that the environment names. Raises NotDialed.

    A file of SSL_CERT_FILE that cannot be read is passed over by OpenSSL; `cause` names it when a certificate is not
    trusted.
    """
    context = ssl.create_default_context()
    for name in CA_VARIABLES:
        path = environment.get(name)
        if not path or name == OWN_OF_OPENSSL:
            continue
        is_folder = os.path.isdir(path)
        try:
            context.load_verify_locations(cafile=None if is_folder else path, capath=path if is_folder else None)
        except OSError as error:
            advice = "name a file of certificates (PEM)"
            raise NotDialed(f"{name} names authorities that cannot be read ({path}: {error}): {advice}") from error
    return context


class ProxyNotReached(Exception):
    """No connection to the proxy was made, for the reason that this exception wraps."""


def explained(error: Exception, url: str, proxy: Proxy | None, environ: Mapping[str, str]) -> str:
    """Why dialing failed, and what to do, without the password of a proxy."""
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return f"timed out: nothing was opened within {OPEN_SECONDS:.0f} s: check firewalls and proxies on the way"
    if isinstance(error, ConnectionClosed):
        return str(error)
    shown: Exception = error
    # With a proxy, connections are made to it alone.
    if proxy is not None and isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        shown = ProxyNotReached(error)
    found = cause(shown, url, environ)
    if found.kind != "other":
        return str(found)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def through(proxy: Proxy | None) -> dict[str, Any]:
    """The options of websockets for a proxy, which may itself speak TLS. Raises NotDialed."""
    if proxy is None:
        return {"proxy": None}
    tls = {"proxy_ssl": tls_context(os.environ)} if proxy.url.startswith("https:") else {}
    return {"proxy": proxy.url, **tls}


class Dialer:
    """One connection to one gateway. `ticket` returns the latest one. `accept` takes the gateway's requests."""

    def __init__(
        self, url: str, ticket: Callable[[], str], accept: Callable[[Stream, Headers], None], *, insecure: bool = False
    ) -> None:
        self._url, self._ticket, self._accept, self._insecure = url, ticket, accept, insecure
        self._renewed = asyncio.Event()
        self._wait = FIRST_WAIT_SECONDS
        self._problem: str | None = None
        self._proxy: Proxy | None = None

    def renewed(self) -> None:
        """There is another ticket: an open connection shows it, and a refused one is dialed again."""
        self._renewed.set()

    async def run(self) -> None:
        """Keep the connection until this is cancelled."""
        while True:
            try:
                pause = await self._keep()
            except (NotDialed, UnusableProxy) as error:
                pause = self._lost(str(error))
            except (OSError, WebSocketException, asyncio.TimeoutError) as error:
                pause = self._lost(explained(error, self._url, self._proxy, os.environ))
            except Exception as error:
                # A gateway must not be left for good over one attempt, whatever it met.
                log.exception("dialing %s failed", self._url)
                pause = self._lost(type(error).__name__)
            self._renewed.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._renewed.wait(), pause)

    def _lost(self, problem: str, least: float = 0.0) -> float:
        """Log a problem once, and return the seconds to wait."""
        if problem != self._problem:
            log.warning("no tunnel to %s: %s", self._url, problem[:MAX_PROBLEM])
            self._problem = problem
        wait = max(least, self._wait)
        self._wait = min(self._wait * GROWTH, LONGEST_WAIT_SECONDS)
        return wait * random.uniform(0.5, 1.0)

    async def _keep(self) -> float:
        """Dial, and serve until the connection ends. Returns the seconds to wait. Raises what dialing raises."""
        address = websocket_url(self._url, insecure=self._insecure)
        ticket = self._ticket()
        proxy = self._proxy = proxy_for(self._url, os.environ)
        async with connect(
            address,
            **through(proxy),
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers={"Authorization": f"Bearer {ticket}"},
            user_agent_header="muster-agent",
            compression=None,
            ssl=tls_context(os.environ) if address.startswith("wss:") else None,
            open_timeout=OPEN_SECONDS,
            close_timeout=CLOSE_SECONDS,
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
        except ConnectionClosed:
            pass  # its code says below how long to wait
        finally:
            carrier.end("the connection to the gateway was lost")
            for task in (sending, renewing):
                task.cancel()
            await asyncio.gather(sending, renewing, return_exceptions=True)
            await close(websocket)
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
        await close(websocket)

    async def _renew(self, websocket: ClientConnection, shown: str) -> None:
        """Show each later ticket."""
        while True:
            if (ticket := self._ticket()) != shown:
                await websocket.send(ticket)
                shown = ticket
            await self._renewed.wait()
            self._renewed.clear()


async def close(websocket: ClientConnection) -> None:
    """Say goodbye, and end the connection, also if the gateway takes nothing any more."""
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(websocket.close(), 2 * CLOSE_SECONDS)
    websocket.transport.abort()


def set_no_delay(websocket: ClientConnection) -> None:
    """A token must not wait for the acknowledgment of the one before."""
    found = websocket.transport.get_extra_info("socket")
    if found is not None and found.family in (socket.AF_INET, socket.AF_INET6):
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
