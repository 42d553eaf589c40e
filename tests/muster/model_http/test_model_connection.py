"""HTTP/1.1 to a model: what a model may answer, byte by byte, and what it may not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from muster.model_http.model_connection import Headers, ModelConnection, host_header, request


class Asker:
    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = []
        self.body = b""
        self.end = ""

    def on_head(self, status: int, headers: Headers) -> None:
        self.status, self.headers = status, headers

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_end_of_answer(self) -> None:
        self.end = "end"

    def on_unanswered(self) -> None:
        self.end = "unanswered"

    def on_broken(self) -> None:
        self.end = "broken"


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.is_reading_ = True

    def write(self, data: Any) -> None:
        self.written += data

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.is_reading_ = False

    def resume_reading(self) -> None:
        self.is_reading_ = True


def asked() -> tuple[ModelConnection, Asker, Wire]:
    connection, asker, wire = ModelConnection(), Asker(), Wire()
    connection.connection_made(wire)
    connection.ask(b"POST / HTTP/1.1\r\n\r\n", asker)
    return connection, asker, wire


ANSWERS: dict[str, tuple[bytes, int, bytes]] = {
    "with a length": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello"),
    "in chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        200,
        b"hello",
    ),
    "with trailers": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Late: 1\r\n\r\n",
        200,
        b"hello",
    ),
    "after 100": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi"),
    "without a body": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "with an error": (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}", 400, b"{}"),
}


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_answer_is_taken_apart_however_its_bytes_arrive(kind: str, size: int) -> None:
    sent, status, body = ANSWERS[kind]
    connection, asker, wire = asked()
    for start in range(0, len(sent), size):
        connection.data_received(sent[start : start + size])
    assert (asker.status, asker.body, asker.end) == (status, body, "end")
    assert all(name != b"x-late" for name, _ in asker.headers)
    assert connection.is_reusable and not wire.closed


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nho",
        b"HTTP/1.1 304 Not Modified\r\n\r\nmore",
    ],
)
def test_what_follows_an_answer_is_never_the_next_ones(sent: bytes) -> None:
    connection, asker, wire = asked()
    connection.data_received(sent)
    assert asker.end in ("end", "broken") and asker.body in (b"", b"hi")
    assert not connection.is_reusable or not wire.closed
    if connection.is_reusable:
        pytest.fail("the connection would give the rest to the next request")


@pytest.mark.parametrize(
    "sent",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"\r\n",
        b"",
    ],
)
def test_what_is_no_answer_counts_as_none_and_ends_the_connection(sent: bytes) -> None:
    connection, asker, wire = asked()
    if sent:
        connection.data_received(sent)
    else:
        connection.connection_lost(None)
    assert asker.end in ("unanswered", "broken") and asker.body == b"" and (wire.closed or not sent)
    assert not connection.is_reusable


def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    for error, end in ((None, "end"), (OSError(), "broken")):
        connection, asker, _ = asked()
        connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Type: x\r\n\r\nhel")
        connection.data_received(b"lo")
        connection.connection_lost(error)
        assert (asker.body, asker.end, connection.is_reusable) == (b"hello", end, False)


def test_an_answer_that_is_cut_off_is_broken() -> None:
    connection, asker, _ = asked()
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
    connection.connection_lost(None)
    assert (asker.body, asker.end) == (b"hel", "broken")


def test_a_model_that_closes_is_not_asked_again_on_that_connection() -> None:
    connection, asker, wire = asked()
    connection.data_received(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    assert asker.end == "end" and not connection.is_reusable and wire.closed


def test_reading_pauses_and_goes_on() -> None:
    connection, _, wire = asked()
    connection.pause()
    connection.pause()
    assert not wire.is_reading_
    connection.resume()
    assert wire.is_reading_


def test_who_leaves_ends_the_connection_and_hears_nothing_more() -> None:
    connection, asker, wire = asked()
    connection.close()
    connection.connection_lost(None)
    assert wire.closed and asker.end == ""


def test_a_request_is_built_from_its_parts_alone() -> None:
    sent = request("h:1", "key", b"POST", b"/v1/completions", [(b"accept", b"x")], b"{}")
    assert sent == (
        b"POST /v1/completions HTTP/1.1\r\nHost: h:1\r\naccept: x\r\nAuthorization: Bearer key\r\n"
        b"Content-Length: 2\r\n\r\n{}"
    )
    assert b"Authorization" not in request("h", None, b"POST", b"/", [], b"")
    assert (host_header("::1", 80), host_header("h", 1)) == ("[::1]:80", "h:1")
