"""ASGI's receive and send, by applications other than the app: streams, and what they do wrong."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest

from tests.fixtures.local_server import SECRET, Answer, ask, connect, exchange, receive_answer, serving
from tests.fixtures.waiting import PATIENCE

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def stream(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    for part in (b"one", b"", b"two"):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b"three"})


def test_an_answer_of_unknown_length_is_sent_in_chunks() -> None:
    with serving(stream) as port:
        raw = exchange(port, LAST)
        assert raw.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n")
        assert re.search(rb"(?i)transfer-encoding: chunked\r\n", raw)
        head = exchange(port, LAST.replace(b"GET", b"HEAD"))
        assert head.endswith(b"\r\n\r\n") and head.count(b"\r\n\r\n") == 1


def test_a_body_is_received_in_pieces_as_it_arrives() -> None:
    arrived = threading.Semaphore(0)

    async def count(scope: Any, receive: Any, send: Any) -> None:
        length, message = 0, await receive()
        while message["more_body"]:
            length += len(message["body"])
            arrived.release()
            message = await receive()
        body = b"%d" % (length + len(message["body"]))
        headers = [(b"Content-Length", b"%d" % len(body))]
        await send({**START, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    with serving(count) as port, connect(port) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 600000\r\n\r\n")
        for _ in range(2):
            connection.sendall(bytes(200_000))
            assert arrived.acquire(timeout=PATIENCE)
        connection.sendall(bytes(200_000))
        assert receive_answer(connection).body == b"600000"


def test_an_application_learns_that_its_caller_has_gone() -> None:
    begun, gone = threading.Event(), threading.Event()

    async def wait(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        begun.set()
        if (await receive())["type"] == "http.disconnect":
            gone.set()

    with serving(wait) as port:
        with connect(port) as connection:
            connection.sendall(LAST)
            assert begun.wait(PATIENCE)
            connection.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: closing resets the connection
        assert gone.wait(PATIENCE)


async def fail(scope: Any, receive: Any, send: Any) -> None:
    raise RuntimeError(SECRET)


async def fall_silent(scope: Any, receive: Any, send: Any) -> None:
    await receive()


async def split_a_header(scope: Any, receive: Any, send: Any) -> None:
    await send({**START, "headers": [(b"X", b"a\r\nY: b")]})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize("application", [fail, fall_silent, split_a_header])
def test_what_an_application_does_wrong_is_one_answer_of_the_servers(application: Any) -> None:
    with serving(application) as port:
        assert ask(port, "GET /").error == (500, "INTERNAL_ERROR")


def test_an_answer_that_fails_when_it_has_begun_is_cut_off() -> None:
    async def begin(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        raise RuntimeError(SECRET)

    with serving(begin) as port, connect(port) as connection:
        connection.sendall(LAST)
        received = b""
        try:
            while part := connection.recv(65536):
                received += part
        except ConnectionResetError:
            pass
    assert b"0\r\n\r\n" not in received


def test_a_request_without_a_body_is_one_message() -> None:
    async def messages(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        assert message == {"type": "http.request", "body": b"", "more_body": False}
        await send({**START, "headers": [(b"Content-Length", b"0")]})
        await send({"type": "http.response.body"})

    with serving(messages) as port:
        assert Answer(exchange(port, LAST)).status == 200
