"""Whether a model is ready, and whether it is still alive, asked over real sockets."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler
from threading import Thread
from typing import ClassVar

import pytest

from muster_agent.runner.probes import HttpProbe, Pulse
from tests.fixtures.http_server import HttpServer, serving
from tests.fixtures.waiting import eventually


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
        with suppress(ConnectionError):  # whoever asks reads no more of it than it needs
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


LISTED = json.dumps({"object": "list", "data": [{"id": "org/model", "object": "model"}]}).encode()


@pytest.fixture
def port() -> Iterator[int]:
    with serving(HttpServer(("127.0.0.1", 0), Model)) as server:
        yield server.server_port


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
def test_ready_means_healthy_and_listed_to_whoever_has_the_key(
    port: int, health: tuple[int, bytes], models: tuple[int, bytes], model: str, key: str | None, ready: bool
) -> None:
    Model.answers = {"/health": health, "/v1/models": models}
    look = partial(HttpProbe().is_ready, "127.0.0.1", port, model, key)
    assert eventually(look) if ready else not look()


def test_what_does_not_listen_is_not_ready() -> None:
    assert not HttpProbe().is_ready("127.0.0.1", 1, "org/model", None)
    assert not HttpProbe().is_ready("::1", 1, "org/model", None)


def test_pulse_misses_a_beat_and_goes_on() -> None:
    pulse, answers = Pulse(), {0: True, 10: False, 20: False, 30: True}
    assert not any(pulse.has_stopped(now, lambda: answers.get(now, False)) for now in range(0, 70, 2))  # noqa: B023
    assert pulse.has_stopped(70, lambda: False), "silent since 40"


def test_time_in_which_nobody_asked_is_no_silence() -> None:
    pulse = Pulse()
    assert not pulse.has_stopped(0, lambda: False)
    assert not any(pulse.has_stopped(now, lambda: False) for now in (3600, 3610, 3620)), (
        "one miss before, and some after"
    )
    assert pulse.has_stopped(3630, lambda: False)


def test_alive_means_that_health_answers_200(port: int) -> None:
    probe = HttpProbe()
    for status, alive in ((200, True), (503, False), (404, False)):
        Model.answers = {"/health": (status, b"")}
        look = partial(probe.is_alive, "127.0.0.1", port)
        assert eventually(look) if alive else not look()
    assert not probe.is_alive("127.0.0.1", 1)
    assert not probe.is_alive("::1", 1)


def test_a_port_that_takes_a_connection_and_ends_it_is_not_alive() -> None:
    """As the port of a container in which nothing listens: it takes the connection, and ends it."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            server.accept()[0].close()

        Thread(target=hang_up, daemon=True).start()
        assert not HttpProbe().is_alive("127.0.0.1", server.getsockname()[1])
