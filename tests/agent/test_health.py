"""The question whether a model is ready, put to real sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

import pytest

from agent.health import STALLED_AFTER, Patience, is_ready


class Model(BaseHTTPRequestHandler):
    """vLLM's two answers. `/v1/models` wants the key, `/health` does not."""

    answers: ClassVar[dict[str, tuple[int, bytes]]] = {}

    def do_GET(self) -> None:
        status, body = self.answers[self.path]
        if self.path == "/v1/models" and self.headers["Authorization"] != "Bearer key":
            status, body = 401, b"{}"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


LISTED = json.dumps({"object": "list", "data": [{"id": "org/model", "object": "model"}]}).encode()


@pytest.fixture
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("health", "models", "model", "key", "ready"),
    [
        ((200, b""), (200, LISTED), "org/model", "key", True),
        ((200, b""), (200, LISTED), "org/model", None, False),
        ((200, b""), (200, LISTED), "org/other", "key", False),
        ((503, b""), (200, LISTED), "org/model", "key", False),
        ((200, b""), (200, b"<html>"), "org/model", "key", False),
        ((200, b""), (200, b'{"data": 7}'), "org/model", "key", False),
        ((200, b""), (500, LISTED), "org/model", "key", False),
        ((200, b""), (200, b" " * 2_000_000 + LISTED), "org/model", "key", False),
    ],
)
def test_ready(
    port: int, health: tuple[int, bytes], models: tuple[int, bytes], model: str, key: str | None, ready: bool
) -> None:
    Model.answers = {"/health": health, "/v1/models": models}
    assert is_ready("127.0.0.1", port, model, key) is ready


def test_nobody_there(port: int) -> None:
    assert not is_ready("127.0.0.1", 1, "org/model", None)
    assert not is_ready("::1", 1, "org/model", None)


def test_patience() -> None:
    patience = Patience(0)
    lines = iter(["a"] * 10 + ["b"] * 1000)
    looked = [now for now in range(0, 3600, 10) if patience.exhausted(now, lambda: next(lines))]
    # Silent from the 11th look on, which was after 660 seconds.
    assert looked[0] == 660 + STALLED_AFTER
