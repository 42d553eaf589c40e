"""Over raw sockets: what is no request, what hides a second one, and callers that are slow or never done."""

from __future__ import annotations

import json
import re
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

import pytest

from muster.serving.connections import Connections
from tests.fixtures import ROOT
from tests.fixtures.local_server import (
    LONG,
    SECRET,
    Answer,
    ask,
    connect,
    exchange,
    receive_answer,
    serving,
    until_closed,
)
from tests.fixtures.waiting import PATIENCE, eventually

GET = b"GET /things HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with what arrived. A path that begins with /large has an answer of as many bytes as follow."""
    length = 0
    while (message := await receive())["type"] == "http.request":
        length += len(message["body"])
        if not message["more_body"]:
            break
    seen = {"method": scope["method"], "path": scope["path"], "raw_path": scope["raw_path"].decode(), "length": length}
    body = json.dumps(seen | {"query": scope["query_string"].decode()}).encode()
    if scope["path"].startswith("/large/"):
        body = bytes(int(scope["path"].removeprefix("/large/")))
    headers = [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(echo) as port:
        yield port


@pytest.fixture
def impatient_port() -> Iterator[int]:
    """Waits long for a request to begin, and then hardly for the rest of it."""
    with serving(echo, patience=replace(LONG, request=0.3)) as port:
        yield port


REFUSED = [
    f"{SECRET}\r\n\r\n",
    f"GET /{SECRET}\r\n\r\n",
    f"GET /things {SECRET} HTTP/1.1\r\n\r\n",
    f"GET /things {SECRET}/1.1\r\n\r\n",
    "GET /things HTTP/2.0\r\nHost: x\r\n\r\n",
    "GET /things HTTP/9.9\r\nHost: x\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "BREW /things HTTP/1.1\r\nHost: x\r\n\r\n",
    "get /things HTTP/1.1\r\nHost: x\r\n\r\n",
    "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\r\n",
    "GET /" + "a" * 70000 + " HTTP/1.1\r\n\r\n",
    "GET /things HTTP/1.1\r\nX: " + "a" * 70000 + "\r\n\r\n",
    "GET /things HTTP/1.1\r\nHost: x\r\n" + "X: a\r\n" * 200 + "\r\n",
    f"GET /things HTTP/1.1\r\n{SECRET}\r\n\r\n",
    "GET /things HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
    "GET /things\x1b[31m HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /things\r HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /th\u00efngs HTTP/1.1\r\nHost: x\r\n\r\n",
    # What a proxy in front, and this server, might read as two different requests
    "GET /things HTTP/1.1\r\nHost: x\r\nX: a\rY: b\r\n\r\n",
    "GET /things HTTP/1.1\r\nHost: x\r\nX: a\r\r\n\r\n",
    "GET /things HTTP/1.1\r\nHost: x\r\nX: a\nY: b\r\n\r\n",
    "GET /things HTTP/1.1\nHost: x\n\n",
    "GET /things HTTP/1.1\r\nHost: x\r\nX: a\r\n folded\r\n\r\n",
    "GET /things HTTP/1.1\r\n Host: x\r\n\r\n",
    "GET /things HTTP/1.1\r\nHost : x\r\n\r\n",
    "GET /things HTTP/1.1\r\n\r\n",
    "GET /things HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "POST /things HTTP/1.1\r\nHost: x\r\nX: a\rContent-Length: 9\r\n\r\n",
    "POST /things HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n",
    "POST /things HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET.decode(),
    "POST /things HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n" + GET.decode(),
    "POST /things HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n" + GET.decode(),
    "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + GET.decode(),
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET.decode(),
    *(
        f"POST /things HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{{}}" + GET.decode()
        for length in ("-1", "+2", "0x2", "x", "", "2, 2", "9" * 30, "2\r\nContent-Length: 2", "2\r\nContent-Length: 3")
    ),
]


@pytest.mark.parametrize("raw", REFUSED, ids=lambda raw: repr(raw[-60:]))
def test_what_is_no_request_is_refused_not_echoed_and_the_last_of_its_connection(port: int, raw: str) -> None:
    answer = Answer(exchange(port, raw.encode("latin-1")))
    assert answer.error == (400, "INVALID_REQUEST")
    assert answer.headers["connection"] == "close"


def test_blank_lines_before_a_request_are_nothing(port: int) -> None:
    assert Answer(exchange(port, b"\r\n\r\n" + LAST)).json["path"] == "/last"


def test_a_target_is_taken_in_its_absolute_form_and_as_it_was_sent(port: int) -> None:
    for target in ("http://somewhere", "HTTPS://a:b@somewhere:8000", ""):
        seen = ask(port, f"GET {target}/a%2Fb?c=%20&d=http://x").json
        assert (seen["raw_path"], seen["path"], seen["query"]) == ("/a%2Fb", "/a/b", "c=%20&d=http://x")


def test_a_refusal_comes_after_the_answers_to_the_requests_before_it(port: int) -> None:
    answers = exchange(port, GET + GET + b"GET / HTTP/1.1\r\nX: a\rb\r\n\r\n" + GET)
    assert re.findall(rb"HTTP/1\.1 (\d+) ", answers) == [b"200", b"200", b"400"]


def test_what_follows_the_last_request_of_a_connection_is_not_read(port: int) -> None:
    for last in (
        LAST,
        b"GET /last HTTP/1.0\r\n\r\n",
        b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    ):
        assert exchange(port, GET + last + GET).count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize("size", [0, 3, 100_000])
def test_who_asks_for_another_protocol_gets_an_answer_to_the_whole_request(port: int, size: int) -> None:
    """As Java's client does with each first request; what follows it is not read."""
    head = f"POST /things HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: {size}\r\n\r\n"
    for before in (b"", GET):
        answers = exchange(port, before + head.encode() + b"x" * size + GET)
        assert answers.count(b"HTTP/1.1 200") == 1 + bool(before) and answers.count(b"HTTP/1.1") == 1 + bool(before)
        assert f'"length": {size}'.encode() in answers and b"Connection: close" in answers


def test_many_requests_at_once_are_answered_in_their_order(port: int) -> None:
    requests = [b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(5000)]
    with connect(port) as connection:
        sender = threading.Thread(target=connection.sendall, args=(b"".join(requests) + LAST,), daemon=True)
        sender.start()
        answers = until_closed(connection)
    paths = [json.loads(part.partition(b"\r\n\r\n")[2])["path"] for part in answers.split(b"HTTP/1.1 200 OK")[1:]]
    assert paths == [*(f"/{number}" for number in range(5000)), "/last"]


def test_a_body_is_read_to_its_end_beside_other_requests(port: int) -> None:
    body = bytes(300_000)
    posted = b"POST /things HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    answers = exchange(port, GET + posted + posted + LAST)
    lengths = [json.loads(part.partition(b"\r\n\r\n")[2])["length"] for part in answers.split(b"HTTP/1.1 200 OK")[1:]]
    assert lengths == [0, len(body), len(body), 0]


def test_an_answer_that_nobody_takes_is_followed_by_no_other() -> None:
    """Of a caller that asks for ever and never reads, no more than one answer is in memory."""
    asked = threading.Semaphore(0)

    async def counting(scope: Any, receive: Any, send: Any) -> None:
        asked.release()
        await echo(scope, receive, send)

    large = b"GET /large/30000000 HTTP/1.1\r\nHost: x\r\n\r\n"
    with serving(counting) as port, connect(port) as connection:
        connection.sendall(large * 20)
        assert asked.acquire(timeout=PATIENCE)
        assert ask(port, "GET /other").status == 200
        assert asked.acquire(timeout=PATIENCE)
        assert not asked.acquire(blocking=False), "the second large answer has to wait for the first to be taken"
        remaining = 30_000_000
        while remaining > 0:
            remaining -= len(connection.recv(1 << 20))
        assert asked.acquire(timeout=PATIENCE)


def test_little_is_sent_ahead_to_a_caller_that_reads_nothing() -> None:
    """The kernel would take megabytes of each answer."""
    taken = [0]
    piece = bytes(16 * 1024)

    async def long(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            taken[0] += len(piece)

    with serving(long) as port, socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        caller.connect(("127.0.0.1", port))
        caller.sendall(GET)
        eventually(lambda: taken[0], what="the first bytes")
        eventually(lambda: is_still(taken), what="the answer to stand still")
        assert taken[0] < 256 * 1024


def is_still(count: list[int]) -> bool:
    before = count[0]
    time.sleep(0.5)
    return count[0] == before


def test_a_caller_that_sends_nothing_more_gets_its_answers(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(GET * 2)
        connection.shutdown(socket.SHUT_WR)
        assert until_closed(connection).count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize(
    "cut",
    [
        "GET /things HTTP/1.1\r\nX: cut o",
        "GET /things HTTP/1.1\r\nX: a\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\ncut",
    ],
)
def test_a_request_that_was_cut_off_is_none(port: int, cut: str) -> None:
    with connect(port) as connection:
        connection.sendall(cut.encode())
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""


def test_a_body_that_does_not_come_is_refused(impatient_port: int) -> None:
    answer = ask(impatient_port, "POST /things", "Content-Length: 9", body=b"slow")
    assert answer.error == (400, "INVALID_REQUEST")


@pytest.mark.parametrize("begun", [b"GET /things HTTP/1.1\r\nX-Slow: ", b"G", b"\r\n", GET + b"GET /"])
def test_a_head_that_does_not_come_ends_the_connection(impatient_port: int, begun: bytes) -> None:
    assert exchange(impatient_port, begun).count(b"HTTP/1.1 ") == begun.count(GET)


def test_a_connection_that_asks_for_nothing_is_ended() -> None:
    with serving(echo, patience=replace(LONG, idle=0.1)) as port:
        assert exchange(port, b"") == b""
        assert exchange(port, GET).count(b"HTTP/1.1 200 OK") == 1


def test_an_answer_that_is_not_taken_ends_the_connection() -> None:
    connections = Connections(100)
    with serving(echo, connections, replace(LONG, answer=0.1)) as port, connect(port) as connection:
        connection.sendall(b"GET /large/50000000 HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: connections.count, lambda count: count == 1)
        eventually(lambda: connections.count, lambda count: count == 0)


def test_a_refused_caller_that_goes_on_sending_gets_the_refusal() -> None:
    with serving(echo) as port, connect(port) as connection:
        connection.sendall(b"POST /things HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(100):
            connection.sendall(bytes(100_000))
        connection.shutdown(socket.SHUT_WR)
        assert Answer(until_closed(connection)).error == (400, "INVALID_REQUEST")


def test_connections_that_ask_for_nothing_keep_nobody_out() -> None:
    with serving(echo, Connections(3)) as port, ExitStack() as opened:
        kept = opened.enter_context(connect(port))
        kept.sendall(GET)
        assert receive_answer(kept).status == 200
        silent = [opened.enter_context(connect(port)) for _ in range(6)]
        silent[-1].sendall(b"GET /thi")
        assert ask(port, "GET /things").status == 200
        assert silent[0].recv(100) == b""
        kept.sendall(LAST)
        assert b"HTTP/1.1 200 OK" in until_closed(kept), "one that has asked is ended after those that have not"


def test_bodies_that_are_too_large_together_are_given_up() -> None:
    with serving(echo, Connections(100, body_bytes=1_000_000)) as port, ExitStack() as opened:
        head = b"POST /things HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
        large = opened.enter_context(connect(port))
        large.sendall(head + bytes(999_999))
        other = opened.enter_context(connect(port))
        other.sendall(head + bytes(100))
        with suppress(ConnectionError):
            assert large.recv(100) == b""
        assert ask(port, "POST /things", "Content-Length: 9", body=b"123456789").json["length"] == 9


def test_more_connections_than_files_leave_the_server_answering() -> None:
    """The kernel refuses what the process cannot open; it must not come to that."""
    program = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from muster.serving.http_server import HttpServer, Serving
from infra.local.server import listen
from infra.local.answers import refused
from tests.muster.serving.test_http_protocol import echo
listener = listen("127.0.0.1", 0)
print(listener.getsockname()[1], flush=True)
HttpServer(echo, Serving(refused)).run([listener])
"""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    server = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout and server.stderr
        port = int(server.stdout.readline())
        with ExitStack() as opened:
            for _ in range(600):
                opened.enter_context(connect(port))
            for _ in range(10):
                assert ask(port, "GET /things").status == 200
        server.terminate()
        assert "out of system resource" not in server.stderr.read()
    finally:
        server.kill()
        server.wait()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
