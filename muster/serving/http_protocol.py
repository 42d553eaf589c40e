"""HTTP/1.1 over uvicorn: strict, patient only so long, and in one error shape.

httptools (llhttp) refuses what two servers may read differently: a bare CR or LF, a NUL, a folded line, a space before
a colon, and a Content-Length that is none, comes twice, or comes with Transfer-Encoding. Here it gets bounds, and what
it refuses is answered as `{"error_code", "message"}`. After a refusal nothing more is read as a request.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from muster.api.errors import ApiError
from muster.serving.answers import Answer, Answered, Refuse
from muster.serving.connections import Connection, Connections
from muster.serving.exchange import Exchange
from muster.serving.websocket_protocol import WebSocketProtocol

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 100
MAX_UNSENT_BYTES = 16 * 1024
"""Bytes that wait for a caller to take them before whoever sends more has to wait."""
MAX_DRAIN_BYTES = 64 * 1024 * 1024
NEVER = float("inf")
MAX_PIECES = 64
"""Pieces of a body that wait for the application before no more of it is read."""
READ_AT_ONCE = 4096
"""Bytes that are parsed before it is known whether they hold many requests: the rest of those wait unparsed."""
ORIGIN = re.compile(rb"^https?://[^/?]*", re.IGNORECASE)


@dataclass(frozen=True)
class Patience:
    """Seconds. A connection may say nothing for `idle`, longer than between heartbeats; a request that began has
    `request` to arrive, an answer `answer` to be taken, and a caller that was refused `drain` to stop sending.
    """

    idle: float = 75.0
    request: float = 30.0
    answer: float = 30.0
    drain: float = 3.0


class DefaultHead:
    """`lines` are those of uvicorn's list `source`."""

    def __init__(self) -> None:
        self.source: list[tuple[bytes, bytes]] | None = None
        self.lines = b""


HEAD = DefaultHead()


class HttpProtocol(HttpToolsProtocol):
    """One connection. A request is answered before the next one of the same connection is handed on."""

    exchange: Exchange | None

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        connections: Connections,
        patience: Patience,
        refuse: Refuse,
        answered: Answered,
        websockets: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=False)
        self._all = connections
        self._patience = patience
        self._refuse_with, self.answered, self._websockets = refuse, answered, websockets
        self.exchange = None
        self._queue: deque[Exchange] = deque()
        self._held = b""
        self._arriving: Exchange
        self._refusal: ApiError | None = None
        self._head_bytes = 0
        self._in_head = False
        self._is_last = self._has_ended = self._is_sending = False
        self._drained = 0
        self._upgrades = False
        self._left = 0
        """Bytes of a body that httptools does not read, because its request asks for another protocol."""

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(MAX_UNSENT_BYTES)
        _bound_unsent(transport)
        deadline = self.loop.time() + self._patience.idle
        self._connection = Connection(transport.abort, self._expire, deadline)
        self._all.opened(self._connection)

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.closed(self._connection)
        self.connections.discard(self)
        for exchange in [*([self.exchange] if self.exchange else []), *self._queue]:
            exchange.disconnect()
        self._queue.clear()
        self._held = b""
        self.flow.resume_writing()
        self.parser = None  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._is_last:
            self._discard(len(data))
        elif self._held or self._queue or self.flow.write_paused:
            self._held += data
            self.flow.pause_reading()
        else:
            if self.exchange is None and not self._in_head:
                self._connection.deadline = self.loop.time() + self._patience.request
            self._parse(data)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Whether the connection stays open: a caller that sends nothing more gets its answers."""
        self._has_ended = True
        is_answered = self.exchange is not None and not self.exchange.more_body
        return is_answered or bool(self._queue or self._held)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.exchange is None and not self.transport.is_closing():
            self._next()

    def shutdown(self) -> None:
        """The server stops: what is being answered is answered, and nothing else."""
        self._is_last = True
        self._queue.clear()
        self._held = b""
        if self.exchange is None or self.exchange.more_body:
            self._close()
        else:
            self.exchange.keep_alive = False

    def _expire(self) -> None:
        """The deadline has passed: for a request, for an answer to be taken, or for a farewell."""
        if self.exchange is not None and self.exchange.more_body:
            late = f"the body did not arrive within {self._patience.request:g} seconds"
            self.exchange.answer(self.refusal(ApiError("INVALID_REQUEST", late), self.exchange.scope["raw_path"]))
        elif self._is_sending and not self.transport.get_write_buffer_size():
            self._wait()
        else:
            self.transport.abort()

    # What arrives

    def _parse(self, data: bytes) -> None:
        if self._left:
            self._take_body(data)
            return
        try:
            for start in range(0, len(data), READ_AT_ONCE):
                if self._queue:
                    self._held = data[start:]
                    self.flow.pause_reading()
                    return
                piece = data if len(data) <= READ_AT_ONCE else data[start : start + READ_AT_ONCE]
                self.parser.feed_data(piece)
                if self._in_head:
                    self._count_head(len(piece))
                if self._is_last:
                    return
        except httptools.HttpParserUpgrade as upgrade:
            if self._upgrades:
                self._become_websocket(data[start + int(upgrade.args[0]) :])
                return
            # No protocol is changed: the request is answered, and the connection ends.
            self._take_body(data[start + int(upgrade.args[0]) :])
        except httptools.HttpParserError as error:
            reason = error.__context__ or error
            if not self._is_last:
                self._refuse(reason if isinstance(reason, ApiError) else _not_http())
        except ApiError as error:
            self._refuse(error)

    def _take_body(self, data: bytes) -> None:
        """Take what belongs to the body of a request that asked for another protocol; nothing after it is read."""
        body = data[: self._left]
        self._left -= len(body)
        if body:
            self.on_body(body)
        if not self._left:
            self._is_last = True
            self.on_message_complete()

    def _count_head(self, count: int) -> None:
        self._head_bytes += count
        if self._head_bytes > MAX_HEAD_BYTES:
            raise ApiError("INVALID_REQUEST", "the request line or the headers are too long")

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._in_head, self._head_bytes = True, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= MAX_HEADERS:
            raise ApiError("INVALID_REQUEST", "the headers are too many")
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        version = self.parser.get_http_version()
        method = self.parser.get_method().decode()
        expects = self._check_head(version)
        path, _, query = (self.url if self.url.startswith(b"/") else ORIGIN.sub(b"", self.url)).partition(b"?")
        text = path.decode("latin-1")
        self.scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme or "http",
            "root_path": self.root_path,
            "headers": self.headers,
            "state": self.app_state,
            "method": method,
            "path": unquote(text) if "%" in text else text,
            "raw_path": path,
            "query_string": query,
        }
        if self._may_upgrade(path):
            self._upgrades = True
            return
        keep_alive = version == "1.1" and self.parser.should_keep_alive() and not self.parser.should_upgrade()
        self._left = int(dict(self.headers).get(b"content-length", b"0")) if self.parser.should_upgrade() else 0
        self._arriving = Exchange(self, self.scope, keep_alive, expects)  # type: ignore[arg-type]
        if self.exchange is None:
            self._begin(self._arriving)
        else:
            self._queue.append(self._arriving)
            self.flow.pause_reading()

    def _may_upgrade(self, path: bytes) -> bool:
        """Whether the request asks for a WebSocket where there is one, and nothing came before it."""
        if not self.parser.should_upgrade() or path.decode("latin-1") not in self._websockets:
            return False
        found = dict(self.headers)
        is_bodiless = found.get(b"content-length", b"0") == b"0"
        return is_bodiless and found.get(b"upgrade", b"").lower() == b"websocket" and self.exchange is None

    def _become_websocket(self, rest: bytes) -> None:
        """Hand the connection to the WebSocket's protocol, with the request as it came."""
        self.connections.discard(self)
        self._all.answers(self._connection)
        self._connection.deadline = NEVER
        protocol = WebSocketProtocol(
            self.config, self.server_state, self.app_state, self.loop, lambda: self._all.closed(self._connection)
        )
        head = [self.parser.get_method(), b" ", self.url, b" HTTP/1.1\r\n"]
        for name, value in self.headers:
            head += (name, b": ", value, b"\r\n")
        protocol.connection_made(self.transport)
        protocol.data_received(b"".join([*head, b"\r\n"]))
        self.transport.set_protocol(protocol)
        if rest:
            protocol.data_received(rest)

    def _check_head(self, version: str) -> bool:
        """Whether the caller waits for 100 Continue. Raises ApiError INVALID_REQUEST."""
        hosts, expects = 0, False
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding":
                raise ApiError("INVALID_REQUEST", "chunked bodies are not taken; send the body with its Content-Length")
            elif name == b"expect":
                expects = value.lower() == b"100-continue"
        if version not in ("1.1", "1.0"):
            raise _not_http()
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            raise ApiError("INVALID_REQUEST", "there is more than one Host" if hosts else "the header Host is missing")
        return expects

    def on_body(self, body: bytes) -> None:
        arriving = self._arriving
        if arriving.response_complete:
            return
        arriving.body.append(body)
        if len(arriving.body) > MAX_PIECES:
            self.flow.pause_reading()
        arriving.wake()
        self._all.received(self._connection, len(body))

    def on_message_complete(self) -> None:
        if self._upgrades or self._left:
            return
        self._arriving.more_body = False
        self._is_last |= not self._arriving.keep_alive
        if self._arriving is self.exchange:
            self._answers()
            self.exchange.wake()

    def read_on(self) -> None:
        """Read, unless what was read is yet to be parsed."""
        if not self._held and not self._queue:
            self.flow.resume_reading()

    # What is answered

    async def drain(self) -> None:
        await self.flow.drain()

    def refusal(self, error: ApiError, path: bytes) -> Answer:
        return self._refuse_with(error, path)

    def default_head(self) -> bytes:
        """The headers of every answer, which uvicorn renews once a second."""
        headers = self.server_state.default_headers
        if HEAD.source is not headers:
            HEAD.source = headers
            HEAD.lines = b"".join(b"%s: %s\r\n" % (name.title(), value) for name, value in headers)
        return HEAD.lines

    def _begin(self, exchange: Exchange) -> None:
        self.exchange = exchange
        if not exchange.more_body:
            self._answers()
        task = self.loop.create_task(exchange.run(self.app))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _answers(self) -> None:
        self._all.answers(self._connection)
        self._connection.deadline = NEVER

    def on_response_complete(self) -> None:
        """The answer is written, if the caller takes it."""
        self.server_state.total_requests += 1
        exchange, self.exchange = self.exchange, None
        if exchange is None or self.transport.is_closing():
            return
        if exchange.keep_alive:
            self._next()
        elif exchange.more_body or self._refusal or self.parser.should_upgrade():
            self._drain()
        else:
            self._close()

    def _next(self) -> None:
        """Begin the next request, or wait for one. A caller that does not take its answers gets no more of them."""
        if self.flow.write_paused:
            self._connection.deadline = self.loop.time() + self._patience.answer
            return
        if self._queue:
            self._wait_for_request()
            self._begin(self._queue.popleft())
        if self._held and not self._queue:
            self.loop.call_soon(self._go_on)
        elif self.exchange is None:
            self._settle()
        self.read_on()

    def _go_on(self) -> None:
        held, self._held = self._held, b""
        if self.parser is not None and not self._is_last:
            self._parse(held)
            if self.exchange is None and not self.transport.is_closing():
                self._settle()
            self.read_on()

    def _settle(self) -> None:
        """Nothing is being answered: refuse what could not be read, or wait for a request or the rest of one."""
        if self._refusal is not None:
            self._refuse(self._refusal)
        elif self._has_ended:
            self._close()
        elif self._in_head:
            self._wait_for_request()
        else:
            self._wait()

    def _wait_for_request(self) -> None:
        """Wait for the rest of a request that has begun."""
        self._all.waits(self._connection)
        self._connection.deadline = self.loop.time() + self._patience.request

    def _wait(self) -> None:
        self._is_sending = self.transport.get_write_buffer_size() > 0
        patience = self._patience.answer if self._is_sending else self._patience.idle
        self._all.waits(self._connection)
        self._connection.deadline = self.loop.time() + patience

    def _close(self) -> None:
        """Once what was answered has been sent."""
        self._connection.deadline = self.loop.time() + self._patience.answer
        self.transport.close()

    # What is refused

    def _refuse(self, error: ApiError) -> None:
        """Answer what is no request, in its turn, and take nothing more."""
        self._is_last = True
        self._refusal = error
        if self.exchange is None and not self._queue and not self.transport.is_closing():
            scope: dict[str, Any] = {"method": "-", "raw_path": b"", "client": self.client}
            self.exchange = Exchange(self, scope, keep_alive=False, expects_continue=False)
            self.exchange.answer(self.refusal(error, b""))

    def _drain(self) -> None:
        """Before closing take in what is still being sent: a reset would overtake the answer."""
        self._is_last = True
        self._all.waits(self._connection)
        self._connection.deadline = self.loop.time() + self._patience.drain
        if self._has_ended:
            self.transport.close()
        else:
            self.transport.write_eof()
            self.flow.resume_reading()

    def _discard(self, count: int) -> None:
        self._drained += count
        if self._drained > MAX_DRAIN_BYTES:
            self.transport.abort()


def _bound_unsent(transport: asyncio.Transport) -> None:
    """Have the kernel take no more than a caller's window and a little: by itself it keeps megabytes of each answer."""
    found = transport.get_extra_info("socket")
    if found is not None and found.family in (socket.AF_INET, socket.AF_INET6):
        with suppress(AttributeError):  # not every system has it
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT_BYTES)


def _not_http() -> ApiError:
    return ApiError("INVALID_REQUEST", "this is not a well-formed HTTP request")
