"""The gateway as an ASGI application.

/v1/models            the models that the caller's key may use
/v1/…                 requests for a model (muster/tunnel/paths.py lists the paths)
/tunnel               agents' WebSockets
/metrics, /healthz    for Prometheus and load balancers
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

import msgspec

from muster.api.gateways import Caller
from muster.api.version import VERSION
from muster.gateway import model_list, telemetry
from muster.gateway import openai_errors as errors
from muster.gateway.access_lines import Access
from muster.gateway.bodies import Bodies, declared
from muster.gateway.openai_errors import OpenAIError
from muster.gateway.proxying import Arrived, Cut, Exchange, Message, Parts, Reply
from muster.gateway.tunnels import Tunnels
from muster.tunnel.paths import Paths, Refused
from muster.tunnel.protocol import PATH as TUNNEL

JSON = (b"content-type", b"application/json")
MODELS = "/v1/models"
KEY = re.compile(r"mst_key_[A-Za-z0-9_-]{43}")
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class CallerLeft(Exception):
    """The caller hung up before the request had arrived whole."""


class GatewayApplication:
    """`max_body` is in bytes. `state` returns a word for /healthz, and whether the gateway serves."""

    def __init__(
        self,
        parts: Parts,
        tunnels: Tunnels,
        paths: Paths,
        max_body: int,
        state: Callable[[], tuple[str, bool]] = lambda: ("ok", True),
    ) -> None:
        self._parts, self._tunnels, self._paths, self._state = parts, tunnels, paths, state
        self._bodies = Bodies(max_body)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            raise RuntimeError(f"{scope['type']} is not served here")

    async def _websocket(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["path"] == TUNNEL:
            await self._tunnels.connect(scope, receive, send)
        elif (await receive())["type"] == "websocket.connect":
            await send({"type": "websocket.close", "code": 1000})

    async def _http(self, scope: Message, receive: Receive, send: Send) -> None:
        path = _raw_path(scope).decode("latin-1")
        if path in ("/metrics", "/healthz"):
            await self._own(scope, send, path)
        elif path == MODELS or path.startswith(MODELS + "/"):
            await self._models(scope, send, path)
        else:
            await self._model(scope, receive, send)

    async def refuse(self, scope: Message, send: Send, error: OpenAIError, caller: Caller | None = None) -> None:
        """Answer a request that does not come as far as its model."""
        began, reply = time.perf_counter(), Reply(send)
        self._parts.telemetry.rejected(error.code)
        try:
            await reply.fail(error)
        finally:
            self._log(scope, reply, began, caller, error.code)

    def _log(self, scope: Message, reply: Reply, began: float, caller: Caller | None, code: str | None) -> None:
        self._parts.access_log.put(
            Access(
                at=self._parts.wall(),
                request_id=reply.request_id,
                method=scope["method"],
                path=_raw_path(scope).decode("latin-1"),
                status=reply.status,
                duration=time.perf_counter() - began,
                client=_client(scope),
                key_id=caller.key_id if caller else None,
                key_name=caller.name if caller else None,
                code=code,
            )
        )

    async def _own(self, scope: Message, send: Send, path: str) -> None:
        reply = Reply(send)
        if scope["method"] not in ("GET", "HEAD"):
            await reply.fail(errors.wrong_method(scope["method"], "GET"))
        elif path == "/metrics":
            self._parts.telemetry.tunnels(self._tunnels.count, self._tunnels.workers)
            kind = (b"content-type", telemetry.CONTENT_TYPE.encode())
            await reply.whole(200, [kind], self._parts.telemetry.exposition())
        else:
            word, serves = self._state()
            found = {"status": word, "version": VERSION, "tunnels": self._tunnels.count}
            await reply.whole(200 if serves else 503, [JSON], msgspec.json.encode(found))

    async def _models(self, scope: Message, send: Send, path: str) -> None:
        began, reply, caller = time.perf_counter(), Reply(send), None
        try:
            if scope["method"] not in ("GET", "HEAD"):
                raise errors.wrong_method(scope["method"], "GET")
            caller = await self._caller(scope)
            models = self._parts.table.models()
            if path == MODELS:
                body = model_list.listed(caller, models)
            else:
                body = model_list.one(caller, models, unquote(path.removeprefix(MODELS + "/")))
        except OpenAIError as error:
            await self.refuse(scope, send, error, caller)
        else:
            await reply.whole(200, [JSON], body)
            self._log(scope, reply, began, caller, None)

    async def _model(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve a request for a model. Nothing of its body is read before its key is known to be good."""
        caller = None
        try:
            path = self._checked(scope["method"], _raw_path(scope))
            caller = await self._caller(scope)
            with self._bodies.place(caller.key_id, declared(scope["headers"])):
                arrived = Arrived(path, scope["headers"], await _body(receive), _client(scope))
                await self._exchange(scope, receive, Exchange(self._parts, caller, arrived, send))
        except OpenAIError as error:
            await self.refuse(scope, send, error, caller)
        except CallerLeft:
            return

    def _checked(self, method: str, raw: bytes) -> bytes:
        """The path as it may be asked for. Raises OpenAIError."""
        try:
            clean = self._paths.check(raw)
        except Refused as error:
            raise errors.no_route(method, raw.decode("latin-1")) from error
        if method != "POST":
            raise errors.wrong_method(method, "POST")
        return clean

    async def _caller(self, scope: Message) -> Caller:
        """Whose key came with the request; one that is not known may be new. Raises OpenAIError."""
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, secret = given[0].decode("latin-1").partition(" ") if len(given) == 1 else ("", "", "")
        if scheme.lower() != "bearer" or not secret:
            raise errors.missing_key()
        table, secret = self._parts.table, secret.strip()
        caller = table.caller(secret, self._parts.wall())
        if caller is None and KEY.fullmatch(secret):
            await self._parts.look_again()
            caller = table.caller(secret, self._parts.wall())
        if caller is None:
            raise errors.unknown_key()
        return caller

    async def _exchange(self, scope: Message, receive: Receive, exchange: Exchange) -> None:
        task = asyncio.current_task()
        assert task is not None
        left = False

        def leave() -> None:
            nonlocal left
            left = True
            task.cancel()

        stop = watch(scope, receive, leave)
        try:
            await exchange.run()
        except asyncio.CancelledError:
            if not left:
                raise
        except Cut as error:
            raise ConnectionAbortedError(str(error)) from error
        finally:
            stop()


def watch(scope: Message, receive: Receive, left: Callable[[], None]) -> Callable[[], None]:
    """Call `left` once the caller hangs up. Returns what ends the watch.

    Muster's own server tells by a call; with any other one a task waits for the message.
    """
    listen: Callable[[Callable[[], None] | None], None] | None = scope.get("muster.on_disconnect")
    if listen is not None:
        listen(left)
        return lambda: listen(None)

    async def wait() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        left()

    task = asyncio.get_running_loop().create_task(wait())
    return lambda: _cancel(task)


async def _body(receive: Receive) -> bytes:
    """The whole body. Raises CallerLeft."""
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise CallerLeft
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _raw_path(scope: Message) -> bytes:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw


def _client(scope: Message) -> str:
    client: Any = scope.get("client")
    return str(client[0]) if client else ""


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
