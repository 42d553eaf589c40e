"""Both ends of a connection, without a network: streams, windows, signs of life, and what a hostile end gets."""

from __future__ import annotations

from collections.abc import Callable

import h2.config
import h2.connection
import pytest

from muster.tunnel.link import (
    BUSY_PING_SECONDS,
    CONTROL_FRAMES_AT_ONCE,
    IDLE_PING_SECONDS,
    MAX_STREAMS,
    MAX_UNANSWERED,
    STREAM_WINDOW,
    Headers,
    Link,
    LinkLost,
    Stream,
    TooManyStreams,
)

HEAD = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"d"), (b":path", b"/v1/completions")]


class Log:
    """A receiver that keeps what arrived."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.data = b""
        self.ended = False
        self.lost: str | None = None
        self.stream: Stream | None = None
        self.consumes = True

    def on_headers(self, headers: Headers) -> None:
        self.headers = list(headers)

    def on_data(self, data: bytes) -> None:
        self.data += data
        if self.consumes and self.stream is not None:
            self.stream.consumed(len(data))

    def on_end(self) -> None:
        self.ended = True

    def on_lost(self, reason: str) -> None:
        self.lost = reason


class Pair:
    """A gateway's end and an agent's, and the bytes between them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.served: list[Log] = []
        self.gateway = Link(self.now, lambda: None)
        self.agent = Link(self.now, lambda: None, self._accept)
        self.pump()

    def _accept(self, stream: Stream, headers: Headers) -> None:
        log = Log()
        log.stream, stream.receiver, log.headers = stream, log, list(headers)
        self.served.append(log)

    def pump(self) -> None:
        while True:
            there, back = self.gateway.take(), self.agent.take()
            if not there and not back:
                return
            if there:
                self.agent.receive(there, self.now)
            if back:
                self.gateway.receive(back, self.now)

    def ask(self, body: bytes = b"") -> tuple[Log, Log]:
        """The caller's side and the agent's side of a request."""
        log = Log()
        log.stream = self.gateway.open_stream(log)
        log.stream.send_headers(HEAD, ends=not body)
        if body:
            log.stream.send(body, ends=True)
        self.pump()
        return log, self.served[-1]


def stream_of(log: Log) -> Stream:
    assert log.stream is not None
    return log.stream


@pytest.mark.parametrize("size", [0, 1, STREAM_WINDOW, 3 * STREAM_WINDOW + 7])
def test_bodies_of_any_size_pass_both_ways(size: int) -> None:
    pair = Pair()
    caller, served = pair.ask(b"q" * size)
    assert (served.data, served.ended) == (b"q" * size, True)
    stream_of(served).send_headers([(b":status", b"200")])
    stream_of(served).send(b"a" * size)
    stream_of(served).send(b"", ends=True)
    pair.pump()
    assert (caller.data, caller.ended, caller.lost) == (b"a" * size, True, None)
    assert not pair.gateway.streams and not pair.agent.streams, "nothing is kept of a stream that has ended"


def test_a_reader_that_stalls_holds_one_window_and_delays_nobody() -> None:
    pair = Pair()
    stalled, served = pair.ask()
    stalled.consumes = False
    stream_of(served).send_headers([(b":status", b"200")])
    stream_of(served).send(b"x" * (10 * STREAM_WINDOW))
    pair.pump()
    assert len(stalled.data) == STREAM_WINDOW and stream_of(served).buffered == 9 * STREAM_WINDOW
    for _ in range(400):  # far more than a connection's window
        quick, other = pair.ask()
        stream_of(other).send_headers([(b":status", b"200")])
        stream_of(other).send(b"y" * STREAM_WINDOW, ends=True)
        pair.pump()
        assert quick.ended and len(quick.data) == STREAM_WINDOW
    drained: list[bool] = []
    stream_of(served).on_drained = lambda: drained.append(True)
    stalled.consumes = True
    stream_of(stalled).consumed(STREAM_WINDOW)
    pair.pump()
    assert len(stalled.data) == 10 * STREAM_WINDOW and drained == [True]


def test_a_cancelled_request_is_lost_at_the_other_end_and_the_other_way_round() -> None:
    pair = Pair()
    caller, served = pair.ask()
    stream_of(caller).reset()
    pair.pump()
    assert served.lost == "cancelled" and caller.lost is None
    caller, served = pair.ask()
    stream_of(served).send_headers([(b":status", b"200")])
    stream_of(served).reset(2)
    pair.pump()
    assert caller.lost == "reset"
    stream_of(caller).send(b"too late")
    stream_of(caller).reset()
    pair.pump()


def test_an_answer_before_the_whole_request_ends_the_request() -> None:
    pair = Pair()
    log = Log()
    log.stream = pair.gateway.open_stream(log)
    log.stream.send_headers(HEAD)
    log.stream.send(b"x" * (5 * STREAM_WINDOW), ends=True)
    pair.agent.receive(pair.gateway.take(), 0.0)
    served = pair.served[-1]
    stream_of(served).send_headers([(b":status", b"503")], ends=True)
    stream_of(served).stop_receiving()
    pair.pump()
    assert log.ended and dict(log.headers)[b":status"] == b"503" and not pair.gateway.streams


def test_there_are_so_many_streams_and_no_more() -> None:
    pair = Pair()
    for _ in range(MAX_STREAMS):
        pair.ask()
    with pytest.raises(TooManyStreams):
        pair.gateway.open_stream(Log())
    stream_of(pair.served[0]).send_headers([(b":status", b"200")], ends=True)
    pair.pump()
    pair.ask()


def beats(pair: Pair, link: Link, until: float, answer: Callable[[], None]) -> int:
    """How many signs of life the link asks for until then."""
    count = 0
    while link.next_due <= until:
        pair.now = link.next_due
        link.tick(pair.now)
        count += 1
        answer()
    return count


def test_signs_of_life_come_more_often_while_a_stream_is_open() -> None:
    pair = Pair()
    assert beats(pair, pair.gateway, 10 * IDLE_PING_SECONDS, pair.pump) == 10
    start = pair.now
    pair.ask()
    assert pair.gateway.woken(pair.now) and pair.gateway.next_due == start + BUSY_PING_SECONDS
    assert beats(pair, pair.gateway, start + 10 * BUSY_PING_SECONDS, pair.pump) == 10


def test_an_end_that_shows_no_sign_of_life_is_given_up_within_six_seconds() -> None:
    pair = Pair()
    pair.ask()
    pair.gateway.woken(0.0)
    with pytest.raises(LinkLost, match="no sign of life"):
        beats(pair, pair.gateway, 100.0, lambda: None)
    assert pair.now <= (MAX_UNANSWERED + 1) * BUSY_PING_SECONDS


def test_every_stream_of_a_lost_connection_is_lost() -> None:
    pair = Pair()
    callers = [pair.ask()[0] for _ in range(3)]
    pair.gateway.lose("gone")
    assert [caller.lost for caller in callers] == ["gone"] * 3 and not pair.gateway.streams


def hostile() -> h2.connection.H2Connection:
    """An agent's end that is not ours."""
    config = h2.config.H2Configuration(
        client_side=False, validate_outbound_headers=False, normalize_outbound_headers=False
    )
    end = h2.connection.H2Connection(config)
    end.initiate_connection()
    return end


def test_an_agent_that_sends_requests_or_garbage_is_given_up() -> None:
    with pytest.raises(LinkLost):
        Link(0.0, lambda: None).receive(b"GET / HTTP/1.1\r\n" * 2000, 0.0)
    agent_link = Link(0.0, lambda: None, lambda stream, headers: None)
    with pytest.raises(LinkLost):
        agent_link.receive(b"x" * 100, 0.0)


def test_a_flood_of_control_frames_is_given_up() -> None:
    gateway, end = Link(0.0, lambda: None), hostile()
    end.receive_data(gateway.take())
    gateway.receive(end.data_to_send(), 0.0)
    with pytest.raises(LinkLost, match="control frames"):
        for number in range(int(2 * CONTROL_FRAMES_AT_ONCE)):
            end.ping(number.to_bytes(8, "big"))
            gateway.receive(end.data_to_send(), 0.0)
            gateway.take()


def test_a_goodbye_ends_the_connection() -> None:
    pair = Pair()
    pair.agent.go()
    with pytest.raises(LinkLost, match="going"):
        pair.pump()
    with pytest.raises(TooManyStreams):
        pair.agent.open_stream(Log())


def test_no_stream_is_opened_on_a_connection_that_was_lost() -> None:
    pair = Pair()
    pair.gateway.lose("gone")
    with pytest.raises(TooManyStreams):
        pair.gateway.open_stream(Log())
