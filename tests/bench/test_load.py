"""The load generator, against the bare responder and a server that hangs up."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest

from bench.bare_http import Responder
from bench.load import HUNG_UP, Load, Plan, answer_length, percentile, processor_seconds

GET = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture
def responder() -> Iterator[int]:
    """The port of a bare responder in a thread."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(Responder, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield server.sockets[0].getsockname()[1]
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    server.close()
    loop.close()


def test_every_answer_is_counted_with_its_bytes(responder: int) -> None:
    measured = Load(Plan(responder, connections=3, seconds=0.05, requests=[GET] * 7)).run()
    assert measured.errors == 0 and measured.answers >= 3 and measured.statuses == {"200": measured.answers}
    assert measured.bytes_out == measured.answers * len(GET)
    assert measured.bytes_in == measured.answers * len(measured.sample)
    assert measured.p50 <= measured.p99


def test_the_warm_up_sends_every_request_once_and_is_not_counted(responder: int) -> None:
    measured = Load(Plan(responder, connections=2, seconds=0.0, requests=[GET] * 50)).run()
    assert measured.answers == 2, "each connection sends one request in a measurement that is over at once"


def test_there_are_no_more_connections_than_requests(responder: int) -> None:
    assert Load(Plan(responder, connections=100, seconds=0.0, requests=[GET])).run().answers == 1


def test_a_server_that_hangs_up_is_an_error_and_is_connected_to_again() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    served = 0

    def serve() -> None:
        """Answer every other connection, and hang up on the rest."""
        nonlocal served
        while True:
            try:
                accepted, _ = listener.accept()
            except OSError:
                return
            with accepted:
                accepted.recv(65536)
                if served % 2:
                    accepted.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
                served += 1

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    measured = Load(Plan(listener.getsockname()[1], connections=1, seconds=0.0, requests=[GET] * 3)).run()
    assert measured.errors + measured.answers == 1
    assert set(measured.statuses) <= {HUNG_UP, "200"} and served >= 4
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.mark.parametrize(
    ("data", "length"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", 43),
        (b"HTTP/1.1 200 OK\r\nx: y\r\ncontent-length:0\r\nz: 1\r\n\r\n", 49),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", None),
    ],
)
def test_an_answer_ends_where_its_content_length_says(data: bytes, length: int | None) -> None:
    assert answer_length(data) == length


def test_an_answer_without_a_length_is_refused() -> None:
    with pytest.raises(ValueError, match="without a Content-Length"):
        answer_length(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.51, 3), (0.99, 4), (0.0, 1), (1.0, 4)])
def test_a_percentile_is_a_measured_value(share: float, value: float) -> None:
    assert percentile([1, 2, 3, 4], share) == value
    assert percentile([], share) == 0


def test_a_process_that_has_ended_has_used_no_time() -> None:
    assert processor_seconds([2**22 + 1]) == 0
