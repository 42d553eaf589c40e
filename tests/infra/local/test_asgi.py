"""The app behind the adapter, on a real server: what arrives, what comes back, and when."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from chalice.app import Chalice, Response

from infra.local.asgi import UNASKED_BODY_BYTES, Application
from infra.local.durability import AtOnce, OnDisk
from infra.local.threads import Threads
from tests.fixtures.app import ADMIN_KEY, App
from tests.fixtures.database import Recorder
from tests.fixtures.local_server import SECRET, Answer, ask, connect, receive_answer, serving, until_closed
from tests.fixtures.waiting import PATIENCE

MEGABYTES = 5_900_000


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

    @app.route("/things/{thing}", methods=["GET", "POST"], content_types=["*/*"])
    def thing(thing: str) -> dict[str, Any]:
        assert app.current_request
        return {"thing": thing, "length": len(app.current_request.raw_body)}

    @app.route("/things/first")
    def first() -> dict[str, Any]:
        return {"first": True}

    @app.route("/headers")
    def headers() -> dict[str, Any]:
        assert app.current_request
        return {name: value for name, value in app.current_request.headers.items() if name.startswith("x-")}

    @app.route("/several")
    def several() -> Response:
        return Response("", {"X-Many": ["a", "b"], "X-One": "c"})

    @app.route("/bytes")
    def all_bytes() -> Response:
        return Response(bytes(range(256)), {"Content-Type": "application/octet-stream"})

    @app.route("/unchanged")
    def unchanged() -> Response:
        return Response("", {"ETag": '"x"'}, 304)

    @app.route("/wait")
    def wait() -> dict[str, Any]:
        waiting.until_over()
        return {}

    @app.route("/here")
    def here() -> str:
        return threading.current_thread().name

    @app.route("/there")
    def there() -> str:
        return threading.current_thread().name

    return app


class BrokenApp(Chalice):
    """One that fails outside of any view, where Chalice itself would not catch it."""

    def __call__(self, event: Any, context: Any) -> Any:
        raise RuntimeError(SECRET)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(tiny_app(Waiting())) as port:
        yield port


def test_a_route_is_answered_by_the_app(port: int) -> None:
    assert ask(port, "GET /things?a=1&b=").json == {"query": {"a": "1", "b": ""}}
    assert ask(port, "GET http://somewhere/things?a=1&a=2").json == {"query": {"a": "2"}}
    assert ask(port, "GET /things/first").json == {"first": True}


def test_path_segments_stay_encoded(port: int) -> None:
    for sent in ("sha256%3Aabc", "vllm%2Fopenai%3Alatest", "a;b=c", "%", "a%00b", "{}", "{thing}"):
        assert ask(port, f"GET /things/{sent}").json["thing"] == sent


@pytest.mark.parametrize("path", ["/nothing", "/things//", "/things/a/b", "//", "*", "/../things", "/things/%2E%2E/x"])
def test_an_unknown_route_is_not_found(port: int, path: str) -> None:
    assert ask(port, f"GET {path}" if path != "*" else "OPTIONS *").error == (404, "ROUTE_NOT_FOUND")


@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "TRACE"])
def test_a_method_that_the_route_lacks_is_refused_with_those_that_it_has(port: int, method: str) -> None:
    answer = ask(port, f"{method} /things/a")
    assert answer.error == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "GET, POST"


def test_head_has_the_headers_of_the_refusal_and_no_body(port: int) -> None:
    answer = ask(port, "HEAD /things")
    assert (answer.status, answer.headers["allow"], answer.body) == (405, "GET", b"")


def test_a_header_that_was_sent_several_times_is_joined(port: int) -> None:
    seen = ask(port, "GET /headers", "X-Several: a", "x-several: b, c", "X-Odd: \u00e9").json
    assert seen == {"x-several": "a,b, c", "x-odd": "\u00e9"}


def test_a_header_with_several_values_is_sent_several_times(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(b"GET /several HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head = until_closed(connection).partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert {b"X-Many: a", b"X-Many: b", b"X-One: c"} <= set(head)


def test_bytes_arrive_as_they_are(port: int) -> None:
    answer = ask(port, "GET /bytes", "Accept: application/octet-stream")
    assert (answer.headers["content-type"], answer.body) == ("application/octet-stream", bytes(range(256)))


def test_what_a_caller_has_already_comes_without_a_body_or_its_length(port: int) -> None:
    answer = ask(port, "GET /unchanged")
    assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", '"x"')
    assert not {"content-length", "content-type", "transfer-encoding"} & answer.headers.keys()


def test_a_kept_connection_takes_one_request_after_another(port: int) -> None:
    with connect(port) as connection:
        for target, status in (("GET /things", 200), ("PUT /things", 405), ("GET /wrong", 404)):
            connection.sendall(f"{target} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode())
            assert receive_answer(connection).status == status


def test_an_unexpected_failure_has_a_request_id_and_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    app = BrokenApp("broken")
    app.route("/things")(dict)
    with serving(app) as port:
        answer = ask(port, "GET /things")
    assert answer.error == (500, "INTERNAL_ERROR")
    request_id = answer.json["message"].rsplit(" ", 1)[1]
    assert f"request {request_id} failed" in caplog.text


def test_long_waits_hold_nobody_up() -> None:
    waiting = Waiting()
    with serving(tiny_app(waiting)) as port, ThreadPoolExecutor(16) as pool:
        try:
            asked = [pool.submit(ask, port, "GET /wait") for _ in range(16)]
            for _ in asked:
                assert waiting.begun.acquire(timeout=PATIENCE)
            assert ask(port, "GET /things").status == 200
            assert not any(request.done() for request in asked)
        finally:
            waiting.over.set()
        assert [request.result().status for request in asked] == [200] * 16


def test_only_the_named_endpoints_are_handled_on_the_event_loop() -> None:
    application = Application(tiny_app(Waiting()), Threads(2), frozenset({"here"}))
    with serving(application) as port:
        assert not ask(port, "GET /here").body.startswith(b"request ")
        assert ask(port, "GET /there").body.startswith(b"request ")


def test_the_log_has_paths_but_neither_queries_nor_credentials(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    ask(port, "GET /things?token=hidden")
    ask(port, f"GET /nothing/{SECRET}?token=hidden")
    logged = capsys.readouterr().err
    assert "] 200 GET /things\n" in logged and "] 404 GET /nothing/mst_key_…\n" in logged
    assert "hidden" not in logged and SECRET not in logged


# Bodies that are not read before their caller is known


@contextmanager
def real_app() -> Iterator[int]:
    App()  # which has the keys made
    import app

    with serving(Application(app.app, Threads(8))) as port:
        yield port


def upload(target: str, key: str, length: int = MEGABYTES) -> bytes:
    bearer = f"Authorization: Bearer {key}\r\n" if key else ""
    return f"POST {target} HTTP/1.1\r\nHost: x\r\n{bearer}Content-Length: {length}\r\n".encode()


@pytest.mark.parametrize(
    ("target", "key", "error"),
    [
        ("/api/deployments", "", (401, "UNAUTHENTICATED")),
        ("/api/deployments", SECRET, (401, "UNAUTHENTICATED")),
        ("/api/workers/x/heartbeat", SECRET, (401, "UNAUTHENTICATED")),
        ("/api/deployments", ADMIN_KEY, (413, "PAYLOAD_TOO_LARGE")),
        ("/api/workers/register", "", (413, "PAYLOAD_TOO_LARGE")),
        ("/api/nothing", ADMIN_KEY, (404, "ROUTE_NOT_FOUND")),
        ("/api/health", ADMIN_KEY, (405, "METHOD_NOT_ALLOWED")),
    ],
)
@pytest.mark.parametrize("expect", ["", "Expect: 100-continue\r\n"])
def test_a_large_body_is_refused_before_it_is_sent(
    database: Recorder, target: str, key: str, error: tuple[int, str], expect: str
) -> None:
    with real_app() as port, connect(port) as connection:
        connection.sendall(upload(target, key) + expect.encode() + b"\r\n")
        answer = Answer(until_closed(connection))
    assert answer.error == error
    assert answer.headers["connection"] == "close"


def test_a_caller_that_is_refused_gets_no_100_continue_and_one_that_is_known_does(database: Recorder) -> None:
    body = b'{"name": "me", "role": "viewer"}'
    with real_app() as port:
        with connect(port) as connection:
            connection.sendall(upload("/api/api-keys", SECRET, len(body)) + b"Expect: 100-continue\r\n\r\n")
            assert Answer(until_closed(connection)).error == (401, "UNAUTHENTICATED")
        with connect(port) as connection:
            connection.sendall(upload("/api/api-keys", ADMIN_KEY, len(body)) + b"Expect: 100-continue\r\n\r\n")
            assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(body)
            assert receive_answer(connection).status == 201


def test_a_large_body_of_a_known_caller_is_read(database: Recorder) -> None:
    body = b" " * (UNASKED_BODY_BYTES + 1) + b'{"name": "me", "role": "viewer"}'
    with real_app() as port, connect(port) as connection:
        connection.sendall(upload("/api/api-keys", ADMIN_KEY, len(body)) + b"\r\n" + body)
        assert receive_answer(connection).status == 201


# Answers that wait for the disk


class Disk(AtOnce):
    """Nothing is on disk before `sync`. Every call depends on one more write."""

    def __init__(self) -> None:
        self.sequence = 0
        self.called = threading.Semaphore(0)
        self.waiting: list[OnDisk] = []

    @contextmanager
    def deferred(self) -> Iterator[Disk]:
        self.sequence += 1
        yield self

    def when_durable(self, sequence: int, callback: OnDisk) -> None:
        self.waiting.append(callback)
        self.called.release()

    def sync(self, error: BaseException | None = None) -> None:
        waiting, self.waiting = self.waiting, []
        for callback in waiting:
            callback(error)


@pytest.mark.parametrize("target", ["/here", "/there"])
def test_an_answer_waits_until_what_it_says_is_on_disk(target: str) -> None:
    disk = Disk()
    application = Application(tiny_app(Waiting()), Threads(8), frozenset({"here"}), disk)
    with serving(application) as port, ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, port, f"GET {target}") for _ in range(8)]
        for _ in asked:
            assert disk.called.acquire(timeout=PATIENCE)
        assert not any(request.done() for request in asked)
        disk.sync()
        assert [request.result().status for request in asked] == [200] * 8


@pytest.mark.parametrize("target", ["/here", "/there"])
def test_what_could_not_be_written_is_not_answered_as_if_it_were(target: str) -> None:
    disk = Disk()
    application = Application(tiny_app(Waiting()), Threads(8), frozenset({"here"}), disk)
    with serving(application) as port, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, port, f"GET {target}")
        assert disk.called.acquire(timeout=PATIENCE)
        disk.sync(OSError("no space left"))
        assert asked.result().error == (503, "UNAVAILABLE")


def test_a_refusal_waits_until_what_it_saw_is_on_disk(database: Recorder) -> None:
    disk = Disk()
    App()
    import app

    def refused(port: int) -> Answer:
        with connect(port) as connection:
            connection.sendall(upload("/api/deployments", SECRET) + b"\r\n")
            return Answer(until_closed(connection))

    with serving(Application(app.app, Threads(8), durability=disk)) as port, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(refused, port)
        assert disk.called.acquire(timeout=PATIENCE)
        assert not asked.done()
        disk.sync()
        assert asked.result().error == (401, "UNAUTHENTICATED")
