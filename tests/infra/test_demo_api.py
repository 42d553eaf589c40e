"""The demo's client of the control plane: what it sends, and how a failure reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
import requests

from infra.demo_api import Api
from infra.demo_stage import DemoFailed
from tests.fixtures.http_server import HttpServer, serving

OPERATION = "/api/operations/o1"


class ControlPlane:
    """Answers each path with the next of its answers, and the last of them from then on."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, Any]]] = {}
        self.requests: list[tuple[str, str, str | None, Any]] = []
        plane = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                given = json.loads(body) if body else None
                plane.requests.append((self.command, self.path, self.headers["Authorization"], given))
                left = plane.answers[self.path]
                status, content = left.pop(0) if len(left) > 1 else left[0]
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(content).encode())

            do_GET = do_POST = answer

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self.server = HttpServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    plane = ControlPlane()
    with serving(plane.server):
        yield plane


@pytest.fixture
def api(plane: ControlPlane) -> Api:
    return Api(plane.url, "a key")


def test_every_request_has_the_key(plane: ControlPlane, api: Api) -> None:
    plane.answers = {"/api/workers?limit=2": [(200, {"workers": []})], "/api/deployments": [(201, {"made": True})]}
    assert api.get("/api/workers", {"limit": 2}) == {"workers": []}
    assert api.post("/api/deployments", {"model": "m"}) == {"made": True}
    assert plane.requests == [
        ("GET", "/api/workers?limit=2", "Bearer a key", None),
        ("POST", "/api/deployments", "Bearer a key", {"model": "m"}),
    ]


def test_neither_proxies_nor_credentials_of_the_user_are_for_it(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    plane.answers = {"/api/workers": [(200, {"workers": []})]}
    assert Api(plane.url, "a key").get("/api/workers") == {"workers": []}


def test_a_refusal_is_told_in_the_apis_own_words(plane: ControlPlane, api: Api) -> None:
    plane.answers = {"/api/workers": [(403, {"error_code": "FORBIDDEN", "message": "not with this key"})]}
    with pytest.raises(DemoFailed, match=r"GET /api/workers was answered 403: .*not with this key") as failed:
        api.get("/api/workers")
    assert failed.value.log == "control plane"


def test_where_nobody_answers_it_is_an_error_of_the_connection() -> None:
    with pytest.raises(requests.ConnectionError):
        Api("http://127.0.0.1:9", "a key").get("/api/workers")


def test_an_answer_that_is_there_needs_no_waiting(plane: ControlPlane, api: Api) -> None:
    plane.answers = {"/logs?lines=6": [(200, {"logs": "x"})]}
    assert api.wait_for("/logs", {"lines": 6}) == {"logs": "x"}
    assert len(plane.requests) == 1


def test_a_workers_answer_is_the_output_of_its_operation(plane: ControlPlane, api: Api) -> None:
    plane.answers = {
        "/disk": [(202, {"operation_id": "o1"})],
        OPERATION: [(200, {"status": "queued"}), (200, {"status": "succeeded", "output": {"free": 1}})],
    }
    assert api.wait_for("/disk") == {"free": 1}
    assert [path for _, path, _, _ in plane.requests] == ["/disk", OPERATION, OPERATION]


def test_an_operation_that_failed_says_why(plane: ControlPlane, api: Api) -> None:
    failed = {"status": "failed", "error_code": "ENGINE_ERROR", "message": "Docker does not answer"}
    plane.answers = {"/images": [(202, {"operation_id": "o1"})], OPERATION: [(200, failed)]}
    with pytest.raises(DemoFailed, match="/images: failed: ENGINE_ERROR: Docker does not answer"):
        api.wait_for("/images")
