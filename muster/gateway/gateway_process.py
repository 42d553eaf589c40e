"""A gateway as a process, or as a part of one: tunnels and the proxy on top of `core`, and a server below them.

build(config) ──► Gateway: start() ──► application answers ──► drain() ──► stop(): report, goodbye
run(config): the same with a server of its own, until SIGTERM, Ctrl-C, or a refused key
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from muster.api.errors import ApiError
from muster.gateway import first_words
from muster.gateway.app import GatewayApplication
from muster.gateway.circuits import Circuits
from muster.gateway.config import GatewayConfig
from muster.gateway.core import Core, write_to_stdout
from muster.gateway.data_dir import DataError
from muster.gateway.listener import CannotServe, listen, load_tls
from muster.gateway.openai_errors import OpenAIError
from muster.gateway.proxying import Parts
from muster.gateway.route_file import Kept
from muster.gateway.trust import State, Trust
from muster.gateway.tunnels import Tunnels
from muster.sanitize import log_to
from muster.serving.answers import Answer
from muster.serving.connections import Connections, room
from muster.serving.http_server import HttpServer, Serving
from muster.tunnel.paths import Paths
from muster.tunnel.protocol import PATH as TUNNEL
from muster.tunnel.protocol import Close

DRAIN_SECONDS = 25.0
"""How long running requests may go on after the first signal: less than the 30 seconds after which most supervisors
kill."""

LAST_SECONDS = 2
"""How long answers that have not ended by then may still be sent."""
CHECK_SECONDS = 2.0
OWN_PATHS = frozenset(("/metrics", "/healthz"))
MOST_CONNECTIONS = 16_384
MOST_BODY_BYTES = 512 * 1024 * 1024
"""Bytes of all bodies together that have not arrived to their end."""

Message = Any


class KeyRefused(Exception):
    """The control plane does not take the gateway's key. `error_code` is UNAUTHENTICATED or FORBIDDEN."""

    def __init__(self, error_code: str, message: str) -> None:
        super().__init__(message)
        self.error_code = error_code


class Gateway:
    """Raises DataError if its folder cannot be used. `application` is an ASGI application for HTTP and WebSockets.

    Everything but the constructor belongs to one event loop.
    """

    def __init__(self, config: GatewayConfig, write: Callable[[str], object] = write_to_stdout) -> None:
        self.core = core = Core(config, write=write)
        self.tunnels = Tunnels(
            config.url,
            lambda: core.ticket_keys,
            time.time,
            counts_expiry=self._counts,
        )
        self.circuits = Circuits(core.telemetry.circuit)
        parts = self._parts()
        self._app = GatewayApplication(parts, self.tunnels, Paths(config.paths), config.max_body, self._state)
        self._checks: asyncio.Task[None] | None = None
        self._is_ending = False
        core.table.on_change(lambda tables: self.circuits.keep(tables.deployment_ids))
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def _parts(self) -> Parts:
        core = self.core
        return Parts(
            core.table,
            self.tunnels,
            core.limits,
            core.ledger,
            core.telemetry,
            core.access_log,
            core.config.hold,
            look_again=core.link.look_again,
            circuits=self.circuits,
        )

    def _counts(self, expires: float) -> bool:
        """Whether a ticket that expired then is no longer good."""
        return not self.core.trust.honors(expires, time.time())

    def _state(self) -> tuple[str, bool]:
        """For /healthz: the word, and whether callers are served."""
        trust = self.core.trust
        return trust.state.value, trust.serves() and not self._is_ending

    async def _check(self) -> None:
        """Every few seconds: tunnels whose ticket has ended, and all of them once the key was refused."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            if self.core.is_revoked.is_set():
                self.tunnels.close_all(Close.NOT_WANTED, "the gateway's key was revoked")
            self.tunnels.check()

    @property
    def running(self) -> int:
        """Requests that are being answered."""
        return self._running

    async def application(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        self._running += 1
        self._idle.clear()
        try:
            if scope["path"] in OWN_PATHS or self.core.trust.serves():
                await self._app(scope, receive, send)
            else:
                await self._app.refuse(scope, send, not_serving(self.core.trust))
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def start(self) -> Kept | None:
        """Begin, without waiting for the control plane. Returns the routes that an earlier process kept."""
        self._checks = asyncio.get_running_loop().create_task(self._check())
        return self.core.start()

    async def drain(self, seconds: float = DRAIN_SECONDS) -> bool:
        """Wait until no request runs, while /healthz answers 503. Returns whether that was so within `seconds`."""
        self._is_ending = True
        if self._idle.is_set():
            return True
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except (asyncio.TimeoutError, TimeoutError):
            return False
        return True

    async def stop(self) -> None:
        """End after the last request: report usage, say goodbye, and write what is in memory."""
        self._is_ending = True
        if self._checks is not None:
            self._checks.cancel()
        self.tunnels.close_all(Close.GOING, "the gateway ends")
        await self.core.stop()

    def close(self) -> None:
        """Release the folder of a gateway that was never started."""
        self.core.close()


def build(config: GatewayConfig) -> Gateway:
    """A gateway for a server of its caller's. Raises DataError."""
    return Gateway(config)


def run(config: GatewayConfig, tell: Callable[[str], object]) -> bool:
    """Serve until a signal. Returns whether it was SIGINT. `tell` gets lines for people.

    Raises CannotServe, KeyRefused, or OptionError.
    """
    log_to(sys.stderr, "%(asctime)s %(levelname)s %(message)s")
    tls = load_tls(config)
    listener = listen(config.host, config.port)
    try:
        gateway = Gateway(config)
    except DataError as error:
        listener.close()
        raise CannotServe(str(error)) from error
    return asyncio.run(_serve(gateway, listener, tls, tell))


async def _serve(
    gateway: Gateway, listener: socket.socket, tls: ssl.SSLContext | None, tell: Callable[[str], object]
) -> bool:
    server = Server(gateway, tls)
    await gateway.start()
    host, port = listener.getsockname()[:2]
    for line in first_words.greeting(gateway.core, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"):
        tell(line)
    words = asyncio.ensure_future(_first_words(gateway.core, tell))
    ending = asyncio.ensure_future(_end(server, gateway, tell))
    try:
        await server.serve([listener])
    finally:
        words.cancel()
        ending.cancel()
        await gateway.stop()
    if gateway.core.refusal is not None:
        raise KeyRefused(gateway.core.refusal.error_code, str(gateway.core.refusal))
    return server.signal == signal.SIGINT


async def _first_words(core: Core, tell: Callable[[str], object]) -> None:
    problem = await core.link.first_attempt()
    for line in first_words.situation(core, problem, time.time()):
        tell(line)


async def _end(server: Server, gateway: Gateway, tell: Callable[[str], object]) -> None:
    """Wait for a signal or a refused key, let running requests end, and end the server."""
    waits = [asyncio.ensure_future(event.wait()) for event in (server.is_asked_to_end, gateway.core.is_revoked)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    for each in server.servers:
        each.close()
    if not gateway.core.is_revoked.is_set() and gateway.running:
        tell(f"Waiting for {gateway.running} running requests to end; a second signal ends them now")
        await gateway.drain()
    server.should_exit = True


class Server(HttpServer):
    """Ends when it is told to, and not at a signal: tunnels stay open until the last request has ended."""

    def __init__(self, gateway: Gateway, tls: ssl.SSLContext | None) -> None:
        serving = Serving(
            refused, answered=lambda *_: None, websockets=frozenset((TUNNEL,)), tls=tls, drain=LAST_SECONDS
        )
        connections = Connections(room(MOST_CONNECTIONS), MOST_BODY_BYTES)
        super().__init__(gateway.application, serving, connections)
        self.is_asked_to_end = asyncio.Event()
        self.signal: int | None = None
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal lets running requests end; the second one ends the process."""
        if self.signal is not None:
            os._exit(1)
        self.signal = sig
        self._loop.call_soon_threadsafe(self.is_asked_to_end.set)


def not_serving(trust: Trust) -> OpenAIError:
    """Why no caller's key is good now: whose fault it is, and what to do."""
    if trust.state is State.REVOKED:
        message = "this gateway's own key was revoked, so it serves nobody; use another gateway"
    elif trust.contact is None:
        message = "this gateway has not reached its control plane yet; try again in a moment"
    else:
        message = "this gateway has been without its control plane for longer than it may; try another gateway"
    return OpenAIError(503, "not_serving", message, retry_after=5)


def refused(error: ApiError, path: bytes) -> Answer:
    """What the server answers by itself, in OpenAI's shape."""
    shaped = OpenAIError(error.status, error.error_code.lower(), error.message)
    body = shaped.body()
    head = [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(body)), *shaped.headers]
    return Answer(error.status, head, body)
