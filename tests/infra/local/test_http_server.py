"""Over raw sockets: whatever the app does not answer itself has the API's error shape, and nothing is echoed."""

from __future__ import annotations

import functools
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
from chalice.app import Chalice
from chalice.config import Config

from infra.local.connections import Connections
from infra.local.http_server import MAX_BODY_BYTES, Handler
from infra.local.server import HttpServer
from tests.fixtures.http_server import serving
from tests.fixtures.waiting import PATIENCE

SECRET = "mst_key_do_not_echo"


class Impatient(Handler):
    """Waits long for a request to begin, and then hardly for the rest of it."""

    patience = 0.3
    idle = PATIENCE


class Waiting:
    """The requests that wait in the app until they are let go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.over = threading.Event()

    def until_over(self) -> None:
        self.begun.release()
        assert self.over.wait(PATIENCE)


def tiny_app(waiting: Waiting) -> Chalice:
    app = Chalice("tiny")
    app.debug = False

    @app.route("/things")
    def things() -> dict[str, Any]:
        assert app.current_request
        return {"query": app.current_request.to_dict()["query_params"]}

    @app.route("/things/{thing}", methods=["GET", "POST"])
    def thing(thing: str) -> dict[str, Any]:
        assert app.current_request
        return {"thing": thing, "length": len(app.current_request.raw_body)}

    @app.route("/things/first")
    def first() -> dict[str, Any]:
        return {"first": True}

    @app.route("/wait")
    def wait() -> dict[str, Any]:
        waiting.until_over()
        return {}

    return app


class BrokenApp(Chalice):
    """One that fails outside of any view, where Chalice itself would not catch it."""

    def __call__(self, event: Any, context: Any) -> Any:
        raise RuntimeError(SECRET)


def served(app: Chalice, handler: type[Handler] = Handler, connections: Connections | None = None) -> Iterator[int]:
    wrapped = functools.partial(handler, app_object=app, config=Config.create(app_name="tiny"))
    with serving(HttpServer(("127.0.0.1", 0), wrapped, connections)) as server:
        yield server.server_port


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    yield from served(tiny_app(Waiting()))


@pytest.fixture
def impatient_port() -> Iterator[int]:
    yield from served(tiny_app(Waiting()), Impatient)


@pytest.fixture
def broken_port() -> Iterator[int]:
    app = BrokenApp("broken")
    app.route("/things")(dict)
    yield from served(app)


class Answer:
    def __init__(self, raw: bytes) -> None:
        assert SECRET.encode() not in raw
        head, _, self.body = raw.partition(b"\r\n\r\n")
        status_line, *lines = head.decode().split("\r\n")
        self.status = int(status_line.split()[1])
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        assert int(self.headers["content-length"]) == len(self.body)
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str]:
        assert set(self.json) == {"error_code", "message"}
        return self.status, self.json["error_code"]


def exchange(port: int, raw: bytes) -> bytes:
    """Everything that comes back until the server hangs up."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(raw)
        return b"".join(iter(functools.partial(connection.recv, 65536), b""))


def ask(port: int, request_line: str, *headers: str, body: bytes = b"") -> Answer:
    lines = [f"{request_line} HTTP/1.1", f"Authorization: Bearer {SECRET}", "Connection: close", *headers, "", ""]
    return Answer(exchange(port, "\r\n".join(lines).encode("iso-8859-1") + body))


def test_a_route_is_answered_by_the_app(port: int) -> None:
    assert ask(port, "GET /things?a=1&b=").json == {"query": {"a": "1", "b": ""}}
    assert ask(port, "GET http://somewhere/things?a=1").json == {"query": {"a": "1"}}
    assert ask(port, "GET /things/first").json == {"first": True}


def test_path_segments_stay_encoded(port: int) -> None:
    for sent in ("sha256%3Aabc", "vllm%2Fopenai%3Alatest", "a;b=c", "%", "a%00b"):
        assert ask(port, f"GET /things/{sent}").json["thing"] == sent


@pytest.mark.parametrize("path", ["/nothing", "/things//", "/things/a/b", "//", "*", "/../things", "/things/%2E%2E/x"])
def test_an_unknown_route_is_not_found(port: int, path: str) -> None:
    assert ask(port, f"GET {path}").error == (404, "ROUTE_NOT_FOUND")


@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "TRACE", "BREW"])
def test_a_method_that_the_route_lacks_is_refused_with_those_that_it_has(port: int, method: str) -> None:
    answer = ask(port, f"{method} /things/a")
    assert answer.error == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "GET, POST"


def test_head_has_the_headers_of_the_refusal_and_no_body(port: int) -> None:
    answer = ask(port, "HEAD /things")
    assert (answer.status, answer.headers["allow"], answer.body) == (405, "GET", b"")


def test_route_and_method_are_checked_before_the_body(port: int) -> None:
    assert ask(port, "POST /nothing", "Content-Length: x").error == (404, "ROUTE_NOT_FOUND")
    assert ask(port, "PUT /things", "Content-Length: x").error == (405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize("length", ["-1", "+1", "x", "", "1, 1", "9" * 30, "1\r\nContent-Length: 2"])
def test_a_content_length_that_is_none_is_refused(port: int, length: str) -> None:
    assert ask(port, "POST /things/a", f"Content-Length: {length}", body=b"a").error == (400, "INVALID_REQUEST")


def test_a_chunked_body_is_refused_and_not_read_as_a_request(port: int) -> None:
    smuggled = b"0\r\n\r\nGET /things HTTP/1.1\r\n\r\n"
    answer = ask(port, "POST /things/a", "Transfer-Encoding: chunked", body=smuggled)
    assert answer.error == (400, "INVALID_REQUEST")
    assert answer.headers["connection"] == "close"


def test_a_body_up_to_lambdas_limit_reaches_the_app(port: int) -> None:
    body = bytes(MAX_BODY_BYTES)
    answer = ask(port, "POST /things/a", f"Content-Length: {len(body)}", "Content-Type: application/json", body=body)
    assert answer.json["length"] == len(body)


def test_a_larger_body_is_refused_and_the_answer_is_received(port: int) -> None:
    body = bytes(4 * MAX_BODY_BYTES)
    assert ask(port, "POST /things/a", f"Content-Length: {len(body)}", body=body).error == (413, "PAYLOAD_TOO_LARGE")


def test_a_body_that_does_not_come_is_refused(impatient_port: int) -> None:
    assert ask(impatient_port, "POST /things/a", "Content-Length: 9", body=b"slow").error == (400, "INVALID_REQUEST")


def test_a_head_that_does_not_come_ends_the_connection(impatient_port: int) -> None:
    assert exchange(impatient_port, b"GET /things HTTP/1.1\r\nX-Slow: ") == b""


@pytest.mark.parametrize("head", ["GET /things HTTP/1.1\r\nX: cut o", "GET /things HTTP/1.1\r\nX: a\r\n"])
def test_a_head_that_was_cut_off_is_no_request(port: int, head: str) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(head.encode())
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""


def test_a_caller_that_sends_nothing_more_gets_its_answers(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(b"GET /things HTTP/1.1\r\n\r\n" * 2)
        connection.shutdown(socket.SHUT_WR)
        assert b"".join(iter(functools.partial(connection.recv, 65536), b"")).count(b"HTTP/1.1 200 OK") == 2


def test_connections_that_ask_for_nothing_keep_nobody_out() -> None:
    with contextmanager(served)(tiny_app(Waiting()), connections=Connections(3)) as port, ExitStack() as opened:
        kept = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))
        kept.sendall(b"GET /things HTTP/1.1\r\n\r\n")
        assert kept.recv(100).startswith(b"HTTP/1.1 200 OK")
        silent = [
            opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)) for _ in range(6)
        ]
        silent[-1].sendall(b"GET /thi")
        assert ask(port, "GET /things").status == 200
        assert silent[0].recv(100) == b""
        kept.sendall(b"GET /wrong HTTP/1.1\r\nConnection: close\r\n\r\n")
        answers = b"".join(iter(functools.partial(kept.recv, 65536), b""))
        assert b"HTTP/1.1 404 Not Found" in answers, "one that has asked is ended after those that have not"


def test_bodies_that_are_too_large_together_are_given_up() -> None:
    few = Connections(100, body_bytes=MAX_BODY_BYTES)
    with contextmanager(served)(tiny_app(Waiting()), connections=few) as port, ExitStack() as opened:
        head = f"POST /things/a HTTP/1.1\r\nContent-Length: {MAX_BODY_BYTES}\r\n\r\n".encode()
        large = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))
        large.sendall(head + bytes(MAX_BODY_BYTES - 1))
        other = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))
        other.sendall(head + bytes(100))
        with suppress(ConnectionError):
            assert large.recv(100) == b""
        assert ask(port, "POST /things/a", "Content-Length: 9", body=b"123456789").json["length"] == 9


def test_a_caller_that_waits_for_100_continue_gets_it(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(
            b"POST /things/a HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
            b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
        )
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert Answer(b"".join(iter(functools.partial(connection.recv, 65536), b""))).json["length"] == 2


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n\r\n",
        f"{SECRET}\r\n\r\n".encode(),
        f"GET /{SECRET}\r\n\r\n".encode(),
        f"GET /things {SECRET} HTTP/1.1\r\n\r\n".encode(),
        f"GET /things {SECRET}/1.1\r\n\r\n".encode(),
        b"GET /things HTTP/2.0\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\r\n",
        b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n",
        b"GET /things HTTP/1.1\r\nX: " + b"a" * 70000 + b"\r\n\r\n",
        b"GET /things HTTP/1.1\r\n" + b"X: a\r\n" * 200 + b"\r\n",
        b"POST /things/a HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n",
        f"GET /things HTTP/1.1\r\n{SECRET}\r\n\r\n".encode(),
        b"GET /things HTTP/1.1\r\nX: a\rY: b\r\n\r\n",
        b"GET /things HTTP/1.1\r\nX: a\r\r\n\r\n",
        b"GET /things HTTP/1.1\r\nX: a\0b\r\n\r\n",
        b"GET /things\r HTTP/1.1\r\n\r\n",
        b"POST /things/a HTTP/1.1\r\nX: a\rContent-Length: 9\r\n\r\n",
        b"GET /things HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused_and_not_echoed(port: int, raw: bytes) -> None:
    assert Answer(exchange(port, raw)).error == (400, "INVALID_REQUEST")


def test_an_unexpected_failure_has_a_request_id_and_no_trace(
    broken_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    answer = ask(broken_port, "GET /things")
    assert answer.error == (500, "INTERNAL_ERROR")
    request_id = answer.json["message"].rsplit(" ", 1)[1]
    assert f"request {request_id} failed" in caplog.text


def test_a_kept_connection_takes_one_request_after_another(port: int) -> None:
    answers = exchange(
        port,
        b"GET /things HTTP/1.1\r\n\r\nPUT /things HTTP/1.1\r\n\r\nGET /wrong HTTP/1.1\r\nConnection: close\r\n\r\n",
    )
    assert [int(part.split()[0]) for part in answers.split(b"HTTP/1.1 ")[1:]] == [200, 405, 404]


def test_long_waits_hold_nobody_up() -> None:
    waiting = Waiting()
    with contextmanager(served)(tiny_app(waiting)) as port, ThreadPoolExecutor(16) as pool:
        try:
            asked = [pool.submit(ask, port, "GET /wait") for _ in range(16)]
            for _ in asked:
                assert waiting.begun.acquire(timeout=PATIENCE)
            assert ask(port, "GET /things").status == 200
            assert not any(each.done() for each in asked)
        finally:
            waiting.over.set()
        assert [each.result().status for each in asked] == [200] * 16


def test_the_log_has_paths_but_no_queries(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    ask(port, "GET /things?token=hidden")
    logged = capsys.readouterr().err
    assert "200 GET /things\n" in logged
    assert "hidden" not in logged
