"""One request of a connection and its answer: ASGI's `receive` and `send`."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from typing import Any, Protocol

from muster.api.errors import ApiError
from muster.serving.answers import LINE_END, Answer, status_line

log = logging.getLogger(__name__)

BODILESS = (204, 304)
Message = dict[str, Any]


class Wire(Protocol):
    """The connection of an exchange."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop

    async def drain(self) -> None:
        """Wait until the caller has taken most of what was sent."""
        ...

    def read_on(self) -> None: ...

    def default_head(self) -> bytes: ...

    def on_response_complete(self) -> None: ...

    def answered(self, client: str, status: int, method: str, path: str) -> None: ...

    def refusal(self, error: ApiError, path: bytes) -> Answer: ...


class Exchange:
    """In place of uvicorn's: the head of an answer and its body leave in one write, and no header is scanned twice.

    `keep_alive`: whether the connection may be used for another request after this one.
    """

    def __init__(self, protocol: Wire, scope: Message, keep_alive: bool, expects_continue: bool) -> None:
        self.protocol = protocol
        self.scope = scope
        self.keep_alive = keep_alive
        self.body: list[bytes] = []
        self.more_body = True
        self.response_complete = False
        self.disconnected = False
        self._waits_for_continue = expects_continue
        self._arrived: asyncio.Future[None] | None = None
        self._start: Message | None = None
        self._has_begun = self._is_chunked = False
        self._has_received_all = False
        self._on_disconnect: Callable[[], None] | None = None
        scope["muster.on_disconnect"] = self._listen

    def _listen(self, listener: Callable[[], None] | None) -> None:
        """Have `listener` called when the caller hangs up, so that no task has to wait for it."""
        self._on_disconnect = listener
        if listener is not None and self.disconnected:
            listener()

    def disconnect(self) -> None:
        """The caller has hung up."""
        self.disconnected = True
        self.wake()
        if self._on_disconnect is not None:
            self._on_disconnect()

    async def run(self, app: Any) -> None:
        """Answer the request. What the application did not handle is answered here."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:  # the last line of defence: whatever the application did not handle
            request_id = str(uuid.uuid4())
            log.exception("request %s failed", request_id)
            self._fail(ApiError("INTERNAL_ERROR", f"this is our fault; the log has it as request {request_id}"))
        else:
            if not self.response_complete and not self.disconnected:
                log.error("the application did not complete its answer")
                self._fail(ApiError("INTERNAL_ERROR", "this is our fault; the log has it"))

    def _fail(self, error: ApiError) -> None:
        """An answer that has begun can only be cut off."""
        if self.response_complete or self.disconnected:
            return
        if self._has_begun:
            self.protocol.transport.abort()
        else:
            self.keep_alive = False
            self.answer(self.protocol.refusal(error, self.scope["raw_path"]))

    # ASGI

    async def receive(self) -> Message:
        if self._waits_for_continue and not self.disconnected:
            self._waits_for_continue = False
            self.protocol.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not self.disconnected and not self.response_complete:
            if self.body or not (self.more_body or self._has_received_all):
                body, self.body = b"".join(self.body), []
                self._has_received_all = not self.more_body
                self.protocol.read_on()
                return {"type": "http.request", "body": body, "more_body": self.more_body}
            await self._arrival()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self.disconnected or self.response_complete:
            return
        if message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "http.response.body":
            assert self._start is not None, "an answer starts with http.response.start"
            await self._send_body(self._start, message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"unexpected ASGI message {message['type']}")

    async def _send_body(self, start: Message, body: bytes, more_body: bool) -> None:
        if not self._has_begun and not more_body:
            self.answer(Answer(start["status"], start["headers"], body))
            return
        parts = []
        if not self._has_begun:
            self._has_begun = True
            names = {name.lower() for name, _ in start["headers"]}
            self._is_chunked = not names & {b"content-length", b"transfer-encoding"}
            chunked = [(b"Transfer-Encoding", b"chunked")] if self._is_chunked else []
            parts.append(self._head(start["status"], [*start["headers"], *chunked]))
        if body and self.scope["method"] != "HEAD":
            parts += [b"%x\r\n" % len(body), body, b"\r\n"] if self._is_chunked else [body]
        if not more_body and self._is_chunked and self.scope["method"] != "HEAD":
            parts.append(b"0\r\n\r\n")
        self.protocol.transport.write(b"".join(parts))
        if more_body:
            await self.protocol.drain()
        else:
            self._complete()

    def answer(self, answer: Answer) -> None:
        """Send a whole answer."""
        head = self._head(answer.status, answer.headers)
        bodiless = self.scope["method"] == "HEAD" or answer.status in BODILESS
        self.protocol.transport.write(head if bodiless else head + answer.body)
        self._complete()

    def _head(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Raises ValueError for a header that would end early."""
        parts = [status_line(status), self.protocol.default_head()]
        for name, value in headers:
            if LINE_END.search(value):
                raise ValueError(f"the header {name!r} has more than one line")
            parts += (name, b": ", value, b"\r\n")
        if self.more_body:
            self.keep_alive = False  # nobody reads the rest of the body
        parts.append(b"\r\n" if self.keep_alive else b"Connection: close\r\n\r\n")
        client = self.scope["client"]
        self.protocol.answered(
            client[0] if client else "-", status, self.scope["method"], self.scope["raw_path"].decode("latin-1")
        )
        return b"".join(parts)

    def _complete(self) -> None:
        self.response_complete = True
        self.wake()
        self.protocol.on_response_complete()

    async def _arrival(self) -> None:
        self._arrived = self.protocol.loop.create_future()
        try:
            await self._arrived
        finally:
            self._arrived = None

    def wake(self) -> None:
        """More of the body is there, or nobody waits for the answer any more."""
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)
