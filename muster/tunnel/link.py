"""HTTP/2 over a stream of messages: one end of a tunnel's connection, without any input or output of its own.

    bytes of a message ──► receive() ──► calls of the streams' `Receiver`s
    send…(), ping rhythm ──► take() ──► bytes of a message

A stream has a window of 64 KiB, which opens as its reader consumes: a reader that stalls holds no more than that, and
no other stream waits for it, since the connection's own window opens as bytes arrive. Both ends ask each other for a
sign of life, more often while a stream is open.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

Headers = Sequence[tuple[bytes, bytes]]

STREAM_WINDOW = 64 * 1024
CONNECTION_WINDOW = 16 * 1024 * 1024
MAX_STREAMS = 256
MAX_HEADER_BYTES = 16 * 1024
MAX_FRAME = 16 * 1024
FRAME_HEAD = 9
BUSY_PING_SECONDS, IDLE_PING_SECONDS = 2.0, 15.0
MAX_UNANSWERED = 3
CONTROL_FRAMES_PER_SECOND, CONTROL_FRAMES_AT_ONCE = 200.0, 2000.0
"""Frames that carry no answer: an end that sends more of them than any honest one would is given up."""
CANCEL = int(h2.errors.ErrorCodes.CANCEL)
INTERNAL_ERROR = int(h2.errors.ErrorCodes.INTERNAL_ERROR)
NO_ERROR = int(h2.errors.ErrorCodes.NO_ERROR)


class LinkLost(Exception):
    """The connection is over: the other end broke the protocol, said goodbye, or shows no sign of life."""


class TooManyStreams(Exception):
    """No other stream may be opened on this connection at the moment."""


class Receiver(Protocol):
    """Whoever takes what arrives on a stream."""

    def on_headers(self, headers: Headers) -> None: ...

    def on_data(self, data: bytes) -> None:
        """The bytes stay in the stream's window until `Stream.consumed` is called."""
        ...

    def on_end(self) -> None: ...

    def on_lost(self, reason: str) -> None:
        """The stream ended early: a reset, or the connection's end."""
        ...


class Stream:
    """One request and its answer. `receiver` is set by whoever opens or takes the stream."""

    receiver: Receiver

    def __init__(self, link: Link, number: int) -> None:
        self._link, self.number = link, number
        self._pending: deque[bytes | memoryview] = deque()
        self._ends = False
        self._unacknowledged = 0
        self.is_open = True
        self.buffered = 0
        """Bytes that wait for the other end's window."""
        self.on_drained: Callable[[], None] | None = None
        """Called each time that nothing waits any more."""

    def send_headers(self, headers: Headers, *, ends: bool = False) -> None:
        if not self.is_open:
            return
        with self._unless_closed():
            self._link.h2.send_headers(self.number, headers, end_stream=ends)
            if ends:
                self._link.sent_end(self)
            self._link.wants_to_send()

    def send(self, data: bytes, *, ends: bool = False) -> None:
        """Send as much as the windows allow, and the rest as they open."""
        if not self.is_open:
            return
        if data:
            self._pending.append(data)
            self.buffered += len(data)
        self._ends |= ends
        self.flush()

    def consumed(self, count: int) -> None:
        """The reader has taken so many bytes: the other end may send more."""
        self._unacknowledged += count
        if self._unacknowledged >= STREAM_WINDOW // 4 and self.is_open:
            self._link.open_window(self)

    def take_unacknowledged(self) -> int:
        count, self._unacknowledged = self._unacknowledged, 0
        return count

    def stop_receiving(self) -> None:
        """The answer was sent before the request had arrived whole: the rest of it is not wanted."""
        self._link.stop_receiving(self)

    def reset(self, code: int = CANCEL) -> None:
        """End the stream early, whichever way it goes. Harmless when it has ended."""
        if self.is_open:
            self._link.reset(self, code)

    def flush(self) -> None:
        """Send what waits, as far as the windows allow."""
        with self._unless_closed():
            self._flush()

    @contextmanager
    def _unless_closed(self) -> Iterator[None]:
        """The library knows all frames of a message before the events of the first are handled here: it may know that
        the stream has ended. Its event follows; until then nothing is sent.
        """
        try:
            yield
        except h2.exceptions.ProtocolError:
            self.is_open = False

    def _flush(self) -> None:
        connection, had_waited = self._link.h2, self.buffered > 0
        while self._pending:
            room = min(connection.local_flow_control_window(self.number), MAX_FRAME)
            if room <= 0:
                break
            data = self._pending.popleft()
            if len(data) > room:
                rest = memoryview(data)
                self._pending.appendleft(rest[room:])
                data = bytes(rest[:room])
            self.buffered -= len(data)
            is_last = self._ends and not self._pending
            connection.send_data(self.number, bytes(data), end_stream=is_last)
            if is_last:
                self._ends = False
                self._link.sent_end(self)
                self._link.wants_to_send()
                return
        if self._ends and not self._pending:
            self._ends = False
            connection.end_stream(self.number)
            self._link.sent_end(self)
        self._link.wants_to_send()
        if had_waited and not self.buffered and self.on_drained is not None:
            self.on_drained()


class Link:
    """`accept` takes a stream that the other end opened, and sets its receiver; the end without one takes none.

    `wants_to_send` is called whenever `take` would return something: the transport then takes it soon.
    `now` is in monotonic seconds, everywhere.
    """

    def __init__(
        self, now: float, wants_to_send: Callable[[], None], accept: Callable[[Stream, Headers], None] | None = None
    ) -> None:
        self._accept = accept
        self.wants_to_send = wants_to_send
        config = h2.config.H2Configuration(client_side=accept is None, header_encoding=None)
        self.h2 = h2.connection.H2Connection(config)
        self.streams: dict[int, Stream] = {}
        self._half_closed: set[int] = set()
        self._half_closed_by_peer: set[int] = set()
        self._unacknowledged = 0
        self._unanswered = 0
        self._next_ping = now + IDLE_PING_SECONDS
        self._allowance, self._allowance_at = CONTROL_FRAMES_AT_ONCE, now
        self._is_going = False
        codes = h2.settings.SettingCodes
        self.h2.local_settings = h2.settings.Settings(
            client=accept is None,
            initial_values={
                codes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                codes.MAX_CONCURRENT_STREAMS: MAX_STREAMS if accept is not None else 0,
                codes.MAX_HEADER_LIST_SIZE: MAX_HEADER_BYTES,
                codes.MAX_FRAME_SIZE: MAX_FRAME,
                codes.ENABLE_PUSH: 0,
            },
        )
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(CONNECTION_WINDOW - 65535)
        wants_to_send()

    # Receiving

    def receive(self, data: bytes, now: float) -> None:
        """Take the bytes of a message. Raises LinkLost."""
        try:
            events = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            self.wants_to_send()
            raise LinkLost(f"the other end broke the protocol: {type(error).__name__}") from error
        # The library looks at a frame's length when all of it is there, which may be 16 MiB.
        if len(self.h2.incoming_buffer._data) > MAX_FRAME + FRAME_HEAD:
            raise LinkLost("the other end sends a frame that is too long")
        self._unanswered = 0
        for event in events:
            if isinstance(event, h2.events.DataReceived):
                self._data(event)
            else:
                self._handle(event, now)
        self.wants_to_send()

    def _data(self, event: h2.events.DataReceived) -> None:
        length = event.flow_controlled_length or 0
        self._unacknowledged += length
        if self._unacknowledged >= CONNECTION_WINDOW // 4:
            self.h2.increment_flow_control_window(self._unacknowledged)
            self._unacknowledged = 0
        stream = self.streams.get(event.stream_id or 0)
        if stream is None:
            return  # it was reset here, while these bytes were on their way
        data = event.data or b""
        if length > len(data):
            stream.consumed(length - len(data))  # padding
        if data:
            stream.receiver.on_data(data)

    def _handle(self, event: h2.events.Event, now: float) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._spend(now)
            self._open(event)
        elif isinstance(event, h2.events.ResponseReceived):
            if stream := self.streams.get(event.stream_id or 0):
                stream.receiver.on_headers(event.headers or [])
        elif isinstance(event, h2.events.StreamEnded):
            if stream := self.streams.get(event.stream_id or 0):
                stream.receiver.on_end()
                self._received_end(stream)
        elif isinstance(event, h2.events.StreamReset):
            self._spend(now)
            if stream := self._forget(event.stream_id or 0):
                stream.receiver.on_lost("cancelled" if event.error_code == CANCEL else "reset")
        elif isinstance(event, h2.events.WindowUpdated):
            self._spend(now, 0.1)
            self._opened(event.stream_id or 0)
        elif isinstance(event, h2.events.RemoteSettingsChanged):
            self._spend(now)
            self._opened(0)
        elif isinstance(event, h2.events.ConnectionTerminated):
            raise LinkLost("the other end is going")
        elif not isinstance(event, h2.events.PingAckReceived):
            self._spend(now)

    def _open(self, event: h2.events.RequestReceived) -> None:
        if self._accept is None or event.stream_id is None:
            raise LinkLost("the other end sends requests, which is not its part")
        stream = self.streams[event.stream_id] = Stream(self, event.stream_id)
        self._accept(stream, event.headers or [])

    def _opened(self, number: int) -> None:
        """A window has opened, of a stream or (0) of the connection."""
        waiting = [self.streams.get(number)] if number else list(self.streams.values())
        for stream in waiting:
            if stream is not None and stream.buffered:
                stream.flush()

    def _spend(self, now: float, cost: float = 1.0) -> None:
        earned = (now - self._allowance_at) * CONTROL_FRAMES_PER_SECOND
        self._allowance = min(self._allowance + earned, CONTROL_FRAMES_AT_ONCE) - cost
        self._allowance_at = now
        if self._allowance < 0:
            raise LinkLost("the other end sends more control frames than it may")

    # Streams

    def open_stream(self, receiver: Receiver) -> Stream:
        """A stream for a request. Raises TooManyStreams."""
        most = min(self.h2.remote_settings.max_concurrent_streams, MAX_STREAMS)
        if len(self.streams) >= most or self._is_going:
            raise TooManyStreams
        number = self.h2.get_next_available_stream_id()
        stream = self.streams[number] = Stream(self, number)
        stream.receiver = receiver
        return stream

    def open_window(self, stream: Stream) -> None:
        count = stream.take_unacknowledged()
        if count and stream.number not in self._half_closed_by_peer:
            with suppress(h2.exceptions.ProtocolError):  # the same
                self.h2.increment_flow_control_window(count, stream.number)
            self.wants_to_send()

    def sent_end(self, stream: Stream) -> None:
        self._half_closed.add(stream.number)
        self._close_if_both(stream)

    def _received_end(self, stream: Stream) -> None:
        self._half_closed_by_peer.add(stream.number)
        self._close_if_both(stream)

    def _close_if_both(self, stream: Stream) -> None:
        if stream.number in self._half_closed and stream.number in self._half_closed_by_peer:
            self._forget(stream.number)

    def reset(self, stream: Stream, code: int) -> None:
        self._forget(stream.number)
        with suppress(h2.exceptions.ProtocolError):  # both ends have ended it, which is told in a moment
            self.h2.reset_stream(stream.number, code)
        self.wants_to_send()

    def stop_receiving(self, stream: Stream) -> None:
        """RFC 9113, 8.1: after a complete answer, NO_ERROR asks the other end to stop sending the request."""
        if stream.is_open:
            self.reset(stream, NO_ERROR)

    def _forget(self, number: int) -> Stream | None:
        stream = self.streams.pop(number, None)
        self._half_closed.discard(number)
        self._half_closed_by_peer.discard(number)
        if stream is not None:
            stream.is_open = False
        return stream

    def lose(self, reason: str) -> None:
        """The connection has ended: every open stream is lost, and no other one is opened."""
        self._is_going = True
        for number in list(self.streams):
            if stream := self._forget(number):
                stream.receiver.on_lost(reason)

    def go(self) -> None:
        """Say goodbye; no other stream is opened."""
        if not self._is_going:
            self._is_going = True
            self.h2.close_connection()
            self.wants_to_send()

    # Sending, and signs of life

    def take(self) -> bytes:
        """The bytes to send now."""
        return self.h2.data_to_send()

    @property
    def next_due(self) -> float:
        """When `tick` is to be called, at the latest."""
        return self._next_ping

    def woken(self, now: float) -> bool:
        """A stream was opened: the rhythm is that of a busy connection. Returns whether `next_due` is sooner now."""
        sooner = now + BUSY_PING_SECONDS
        if sooner < self._next_ping:
            self._next_ping = sooner
            return True
        return False

    def tick(self, now: float) -> None:
        """Ask for a sign of life, if it is time. Raises LinkLost where the last ones were not answered."""
        if now < self._next_ping:
            return
        if self._unanswered >= MAX_UNANSWERED:
            raise LinkLost("the other end shows no sign of life")
        self._unanswered += 1
        self._next_ping = now + (BUSY_PING_SECONDS if self.streams or self._unanswered > 1 else IDLE_PING_SECONDS)
        self.h2.ping(b"muster\x00\x00")
        self.wants_to_send()
