"""One HTTP/1.1 connection to a model. The request is built anew, and the answer is taken apart: only its parts pass.

idle ──► ask() ──► head ──► body … ──► end ──► idle, if the model keeps the connection open
            │        │        └── the connection ends too early: on_broken
            │        └── an answer without a length ends with the connection
            └── no byte of an answer: on_unanswered
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import httptools

Headers = list[tuple[bytes, bytes]]
BODILESS = (204, 304)
MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 200


def host_header(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Asker(Protocol):
    """Whoever sent the request. Each request ends with one of the last three."""

    def on_head(self, status: int, headers: Headers) -> None: ...

    def on_body(self, data: bytes) -> None: ...

    def on_end_of_answer(self) -> None: ...

    def on_unanswered(self) -> None: ...

    def on_broken(self) -> None: ...


def request(host: str, key: str | None, method: bytes, path: bytes, headers: Headers, body: bytes) -> bytes:
    """The bytes of a request. `host` is that of the header Host, with its port; `headers` are those that
    `muster.tunnel.headers.to_model` lets pass.
    """
    parts = [method, b" ", path, b" HTTP/1.1\r\nHost: ", host.encode(), b"\r\n"]
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    if key is not None:
        parts += (b"Authorization: Bearer ", key.encode(), b"\r\n")
    parts.append(b"Content-Length: %d\r\n\r\n" % len(body))
    parts.append(body)
    return b"".join(parts)


class ModelConnection(asyncio.Protocol):
    """A connection has one asker at a time. `is_reusable` tells whether it may have another one."""

    def __init__(self) -> None:
        self.is_reusable = False
        self.was_used = False
        self.idle_since = 0.0
        self._asker: Asker | None = None
        self._is_reading = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.is_reusable = True

    def ask(self, request: bytes, asker: Asker) -> None:
        self._asker = asker
        self._parser = httptools.HttpResponseParser(self)
        self._status = 0
        self._headers: Headers = []
        self._head_bytes = 0
        self._has_head = self._ends_with_connection = self._is_complete = self._keeps = False
        self.is_reusable = False
        self._transport.write(request)

    def close(self) -> None:
        """End the connection, and with it the request: a model that is asked no more stops computing."""
        self._asker = None
        self.is_reusable = False
        self._transport.abort()

    def pause(self) -> None:
        """Read no more until `resume`."""
        if self._is_reading:
            self._is_reading = False
            self._transport.pause_reading()

    def resume(self) -> None:
        if not self._is_reading:
            self._is_reading = True
            if not self._transport.is_closing():
                self._transport.resume_reading()

    # asyncio

    def data_received(self, data: bytes) -> None:
        if self._asker is None:
            self.close()  # a model that speaks without being asked
            return
        try:
            self._parser.feed_data(data)
            if not self._has_head:
                self._head_bytes += len(data)
                if self._head_bytes > MAX_HEAD_BYTES:
                    raise httptools.HttpParserError("the head is too long")
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail()
            return
        if self._is_complete:
            self._finish(self._keeps)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_reusable = False
        if self._asker is None:
            return
        if self._has_head and self._ends_with_connection and error is None:
            self._finish(keeps=False)
        else:
            self._fail()

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._has_head:
            return  # a trailer
        if len(self._headers) >= MAX_HEADERS:
            raise httptools.HttpParserError("the headers are too many")
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._is_complete or status == 101:
            raise httptools.HttpParserError("there is more than one answer, or another protocol")
        if 100 <= status < 200:
            self._headers = []
            return
        names = {name for name, _ in self._headers}
        self._has_head, self._status = True, status
        self._ends_with_connection = status not in BODILESS and not names & {b"content-length", b"transfer-encoding"}
        if self._asker is not None:
            self._asker.on_head(status, self._headers)

    def on_body(self, data: bytes) -> None:
        if self._is_complete or self._status in BODILESS:
            raise httptools.HttpParserError("there is more than the answer")
        if self._asker is not None:
            self._asker.on_body(data)

    def on_message_complete(self) -> None:
        if self._has_head:
            self._is_complete = True
            self._keeps = self._parser.should_keep_alive()  # which only here is about this answer

    # The end of an answer

    def _finish(self, keeps: bool) -> None:
        asker, self._asker = self._asker, None
        self.resume()
        self.was_used = True
        self.is_reusable = keeps and not self._ends_with_connection and not self._transport.is_closing()
        if not self.is_reusable:
            self._transport.abort()
        if asker is not None:
            asker.on_end_of_answer()

    def _fail(self) -> None:
        asker, self._asker = self._asker, None
        self.is_reusable = False
        self._transport.abort()
        if asker is not None:
            asker.on_broken() if self._has_head else asker.on_unanswered()
