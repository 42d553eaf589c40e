"""The floor of a gateway: a relay of HTTP/1.1 over HTTP/2 by the same library, which checks nothing.

    python -m bench.bare_relay front PORT BACK_PORT      takes HTTP/1.1, sends it on over one HTTP/2 connection
    python -m bench.bare_relay back PORT MODEL_PORT      takes HTTP/2, sends it on to the model over HTTP/1.1

Both pass on bytes as they come. There are no keys, no limits, no counts, no retries, no WebSocket, and no back-pressure
but that of HTTP/2's windows, which are opened at once for what arrives.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

WINDOW = 16 * 1024 * 1024
STREAMS = 1000


def message_length(received: bytes) -> int | None:
    """The length of the HTTP/1.1 message that `received` begins with; None while the message is not whole."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    _, _, after = received[:end].lower().partition(b"\r\ncontent-length:")
    length = end + 4 + int(after.partition(b"\r\n")[0] or 0)
    return length if len(received) >= length else None


class Link(asyncio.Protocol):
    """One end of the HTTP/2 connection. What a pass of the event loop sends leaves in one write."""

    def __init__(self, is_client: bool, arrived: Callable[[Any], None]) -> None:
        config = h2.config.H2Configuration(client_side=is_client, header_encoding=None, validate_inbound_headers=False)
        self.h2 = h2.connection.H2Connection(config)
        self._arrived = arrived
        self._is_due = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        codes = h2.settings.SettingCodes
        self.h2.initiate_connection()
        self.h2.update_settings({codes.INITIAL_WINDOW_SIZE: WINDOW, codes.MAX_CONCURRENT_STREAMS: STREAMS})
        self.h2.increment_flow_control_window(WINDOW)
        self.flush()

    def data_received(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self._arrived(event)
        self.flush()

    def flush(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_due = False
        self._transport.write(self.h2.data_to_send())


class Front:
    """Streams by their id: each is a caller's connection."""

    def __init__(self) -> None:
        self.link = Link(True, self._arrived)
        self.callers: dict[int, Caller] = {}

    def _arrived(self, event: Any) -> None:
        caller = self.callers.get(getattr(event, "stream_id", 0) or 0)
        if caller is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            caller.begin(dict(event.headers or ()))
        elif isinstance(event, h2.events.DataReceived):
            caller.go_on(event.data or b"")
        elif isinstance(event, h2.events.StreamEnded):
            del self.callers[event.stream_id]
            caller.end()


class Caller(asyncio.Protocol):
    def __init__(self, front: Front) -> None:
        self._front = front
        self._received = b""
        self._is_chunked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        length = message_length(self._received)
        if length is None:
            return
        message, self._received = self._received[:length], self._received[length:]
        head, _, body = message.partition(b"\r\n\r\n")
        method, path, _ = head.split(b"\r\n", 1)[0].split(b" ")
        link = self._front.link
        stream = link.h2.get_next_available_stream_id()
        self._front.callers[stream] = self
        link.h2.send_headers(
            stream,
            [
                (b":method", method),
                (b":scheme", b"http"),
                (b":authority", b"model"),
                (b":path", path),
                (b"content-type", b"application/json"),
            ],
            end_stream=not body,
        )
        if body:
            link.h2.send_data(stream, body, end_stream=True)
        link.flush()

    def begin(self, headers: dict[bytes, bytes]) -> None:
        length = headers.get(b"content-length")
        self._is_chunked = length is None
        framing = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: " + length
        head = b"HTTP/1.1 %s OK\r\nContent-Type: %s\r\n%s\r\n\r\n"
        self._transport.write(head % (headers[b":status"], headers[b"content-type"], framing))

    def go_on(self, data: bytes) -> None:
        self._transport.write(b"%x\r\n%s\r\n" % (len(data), data) if self._is_chunked else data)

    def end(self) -> None:
        if self._is_chunked:
            self._transport.write(b"0\r\n\r\n")


class Back:
    """The end beside the model: a kept connection to the model for each stream that is under way."""

    def __init__(self, model_port: int) -> None:
        self.link = Link(False, self._arrived)
        self._model_port = model_port
        self._requests: dict[int, tuple[dict[bytes, bytes], list[bytes]]] = {}
        self.idle: list[Model] = []

    def _arrived(self, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived):
            assert event.stream_id is not None
            self._requests[event.stream_id] = dict(event.headers or ()), []
        elif isinstance(event, h2.events.DataReceived):
            self._requests[event.stream_id or 0][1].append(event.data or b"")
        elif isinstance(event, h2.events.StreamEnded):
            headers, parts = self._requests.pop(event.stream_id or 0)
            body = b"".join(parts)
            head = b"%s %s HTTP/1.1\r\nHost: model\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            self._ask(event.stream_id or 0, head % (headers[b":method"], headers[b":path"], len(body)) + body)

    def _ask(self, stream: int, request: bytes) -> None:
        if self.idle:
            self.idle.pop().ask(stream, request)
            return
        loop = asyncio.get_running_loop()
        task = loop.create_task(loop.create_connection(lambda: Model(self), "127.0.0.1", self._model_port))
        task.add_done_callback(lambda done: done.result()[1].ask(stream, request))


class Model(asyncio.Protocol):
    """A connection to the model: the framing of an answer is undone, and its bytes are passed on."""

    def __init__(self, back: Back) -> None:
        self._back = back
        self._received = b""
        self._stream = 0
        self._left: int | None = None
        self._has_begun = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self, stream: int, request: bytes) -> None:
        self._stream, self._has_begun, self._left = stream, False, None
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._has_begun and not self._begin():
            return
        if self._left is None:
            self._pass_chunks()
        else:
            part, self._received = self._received[: self._left], self._received[self._left :]
            self._left -= len(part)
            self._pass(part, self._left == 0)

    def _begin(self) -> bool:
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator:
            return False
        self._received, self._has_begun = rest, True
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        headers = [(b":status", head[9:12]), (b"content-type", fields[b"content-type"])]
        if length := fields.get(b"content-length"):
            self._left = int(length)
            headers.append((b"content-length", length))
        self._back.link.h2.send_headers(self._stream, headers)
        return True

    def _pass_chunks(self) -> None:
        parts, has_ended, at = [], False, 0
        while (end := self._received.find(b"\r\n", at)) >= 0:
            size = int(self._received[at:end], 16)
            if len(self._received) < end + 4 + size:
                break
            parts.append(self._received[end + 2 : end + 2 + size])
            at = end + 4 + size
            has_ended = size == 0
        self._received = self._received[at:]
        if parts:
            self._pass(b"".join(parts), has_ended)

    def _pass(self, data: bytes, has_ended: bool) -> None:
        connection = self._back.link.h2
        most = connection.max_outbound_frame_size
        for at in range(0, len(data) or 1, most):
            connection.send_data(self._stream, data[at : at + most], end_stream=has_ended and at + most >= len(data))
        self._back.link.flush()
        if has_ended:
            self._back.idle.append(self)


async def front(port: int, back_port: int) -> None:
    loop = asyncio.get_running_loop()
    relay = Front()
    await loop.create_connection(lambda: relay.link, "127.0.0.1", back_port)
    server = await loop.create_server(lambda: Caller(relay), "127.0.0.1", port)
    await server.serve_forever()


async def back(port: int, model_port: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Back(model_port).link, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run({"front": front, "back": back}[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3])))
