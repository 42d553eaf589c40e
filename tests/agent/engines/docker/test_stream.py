"""The daemon's events are read apart from whoever waits for them, who may stop at any moment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from queue import SimpleQueue
from threading import Event
from typing import Any, NoReturn

import pytest
import requests

from muster_agent.engines.docker.stream import ENDED, Stream
from tests.fixtures.http_server import HttpServer, serving
from tests.fixtures.waiting import PATIENCE, eventually


class Daemon(HttpServer):
    """Answers once `answers` is set, with each line of `lines` until None. `left` is set when the client hangs up."""

    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lines: SimpleQueue[bytes | None] = SimpleQueue()
        self.answers, self.left = Event(), Event()
        self.connections = 0

    def says(self, *events: dict[str, Any]) -> None:
        for each in events:
            self.lines.put(json.dumps(each).encode() + b"\n")

    def request(self, path: str = "/") -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.server_port}{path}", stream=True, timeout=PATIENCE)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Daemon

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        self.server.answers.wait()
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.path == "/silent":
            self.server.left.set() if self.connection.recv(1) == b"" else None
            self.close_connection = True
            return
        while line := self.server.lines.get():
            self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *arguments: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with serving(Daemon()) as server:
        try:
            yield server
        finally:
            server.answers.set()
            server.lines.put(None)


def test_events_come_in_their_order_and_then_the_end(daemon: Daemon) -> None:
    daemon.answers.set()
    daemon.says({"status": "one"}, {"status": "two"})
    daemon.lines.put(None)
    stream = Stream(daemon.request)
    assert [stream.next(PATIENCE) for _ in range(3)] == [{"status": "one"}, {"status": "two"}, ENDED]


def test_whoever_waits_is_told_that_nothing_came(daemon: Daemon) -> None:
    """Before the daemon answers, and between two events."""
    stream = Stream(daemon.request)
    assert stream.next(0.01) is None
    daemon.answers.set()
    daemon.says({"status": "one"})
    assert stream.next(PATIENCE) == {"status": "one"}
    assert stream.next(0.01) is None


def test_an_empty_line_is_no_event(daemon: Daemon) -> None:
    daemon.answers.set()
    daemon.lines.put(b"\n")
    daemon.says({"status": "one"})
    assert Stream(daemon.request).next(PATIENCE) == {"status": "one"}


def test_what_the_request_raises_is_raised_to_whoever_waits() -> None:
    def refused() -> NoReturn:
        raise ConnectionRefusedError("nobody listens")

    with pytest.raises(ConnectionRefusedError, match="nobody listens"):
        Stream(refused).next(PATIENCE)


def test_an_event_that_is_no_json_is_raised_to_whoever_waits(daemon: Daemon) -> None:
    daemon.answers.set()
    daemon.lines.put(b"<html>\n")
    with pytest.raises(ValueError, match="Expecting value"):
        Stream(daemon.request).next(PATIENCE)


def test_after_close_the_daemon_sees_that_nobody_reads(daemon: Daemon) -> None:
    daemon.answers.set()
    opened = Event()

    def request() -> requests.Response:
        response = daemon.request("/silent")
        opened.set()
        return response

    stream = Stream(request)
    assert opened.wait(PATIENCE)
    stream.close()
    assert daemon.left.wait(PATIENCE)


def test_a_stream_that_was_closed_before_its_answer_hangs_up_when_the_answer_comes(daemon: Daemon) -> None:
    stream = Stream(lambda: daemon.request("/silent"))
    eventually(lambda: daemon.connections, what="the request to arrive")
    stream.close()
    daemon.answers.set()
    assert daemon.left.wait(PATIENCE)


def test_close_after_the_end_leaves_the_connection_to_the_next_request(daemon: Daemon) -> None:
    daemon.answers.set()
    daemon.lines.put(None)
    url = f"http://127.0.0.1:{daemon.server_port}/"
    with requests.Session() as session:
        stream = Stream(lambda: session.get(url, stream=True, timeout=PATIENCE))
        assert stream.next(PATIENCE) == ENDED
        stream.close()
        daemon.lines.put(None)
        assert session.get(url, timeout=PATIENCE).status_code == 200
    assert daemon.connections == 1
