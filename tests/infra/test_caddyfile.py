"""The one-machine server's Caddyfile, run by a real Caddy: what models need passes through it as it is."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from queue import Queue
from threading import Event, Thread
from typing import Any

import pytest
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from muster.gateway.config import DEFAULT_MAX_BODY_BYTES
from muster.tunnel.protocol import SUBPROTOCOL
from tests.fixtures import ROOT
from tests.fixtures.docker_engine import unavailable
from tests.fixtures.http_server import HttpServer, serving
from tests.fixtures.ports import free_port
from tests.fixtures.waiting import PATIENCE, eventually

CADDYFILE = (ROOT / "infra" / "server" / "Caddyfile").read_text()
SERVER, GLOBAL = "server:8000", "skip_install_trust"
CONTROL_BODY = 6_000_000


class Backend(HttpServer):
    """In the place of the control plane. `go_on` lets a stream send its next event; `left` has an entry for each
    stream whose reader left.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.go_on, self.left = Event(), Queue[str]()


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Backend

    def do_POST(self) -> None:
        """The size of the body; of a path with "stream", one event, and another when the test wants it."""
        size = len(self.rfile.read(int(self.headers["Content-Length"])))
        if "stream" not in self.path:
            self._begin("application/json", str(size).encode())
            return
        self._begin("text/event-stream" if "events" in self.path else "application/octet-stream", None)
        self._chunk(b"data: first\n\n")
        if "endless" in self.path:
            self._wait_until_it_leaves()
            return
        assert self.server.go_on.wait(PATIENCE)
        self._chunk(b"data: second\n\n")
        self._chunk(b"")

    do_GET = do_POST

    def _begin(self, media_type: str, body: bytes | None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        length = ("Transfer-Encoding", "chunked") if body is None else ("Content-Length", str(len(body)))
        self.send_header(*length)
        self.end_headers()
        self.wfile.write(body or b"")

    def _chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))

    def _wait_until_it_leaves(self) -> None:
        self.connection.settimeout(PATIENCE)
        with suppress(ConnectionError):
            self.connection.recv(1)
        self.server.left.put(self.path)
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what a test prints is for people."""


class Caddy:
    """Caddy with the Caddyfile, without TLS, in front of a server of this process."""

    def __init__(self, folder: Path, backend_port: int) -> None:
        program = shutil.which("caddy") or unavailable("there is no caddy here: apt-get install caddy")
        assert SERVER in CADDYFILE and GLOBAL in CADDYFILE
        text = CADDYFILE.replace(SERVER, f"127.0.0.1:{backend_port}").replace(GLOBAL, f"{GLOBAL}\n\tadmin off")
        (folder / "Caddyfile").write_text(text)
        self.port = free_port()
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "MUSTER_TLS": ""}
        environment["MUSTER_DOMAIN"] = f"http://127.0.0.1:{self.port}"
        self._log = folder / "caddy.log"
        command = [program, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)

    def __enter__(self) -> Caddy:
        eventually(self._is_up, what="Caddy to listen")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def _is_up(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), PATIENCE):
            return True
        return False

    def ask(self, path: str, body: bytes = b"") -> http.client.HTTPResponse:
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        self.connection.request("POST", path, body)
        return self.connection.getresponse()


@pytest.fixture
def backend() -> Iterator[Backend]:
    with serving(Backend()) as backend:
        yield backend


@pytest.fixture
def caddy(tmp_path: Path, backend: Backend) -> Iterator[Caddy]:
    with Caddy(tmp_path, backend.server_address[1]) as caddy:
        yield caddy


def test_a_body_for_a_model_is_as_large_as_the_gateway_takes_it(caddy: Caddy) -> None:
    assert (
        caddy.ask("/v1/audio/transcriptions", bytes(DEFAULT_MAX_BODY_BYTES)).read()
        == str(DEFAULT_MAX_BODY_BYTES).encode()
    )


def test_a_body_for_the_control_plane_has_a_limit(caddy: Caddy) -> None:
    assert caddy.ask("/api/deployments", bytes(CONTROL_BODY)).read() == str(CONTROL_BODY).encode()
    with suppress(ConnectionError):  # it may have closed while the body was sent
        assert caddy.ask("/api/deployments", bytes(CONTROL_BODY + 1)).status >= 400


@pytest.mark.parametrize("path", ["/v1/stream-events", "/v1/stream-audio"])
def test_a_stream_is_passed_on_event_by_event(caddy: Caddy, backend: Backend, path: str) -> None:
    answer = caddy.ask(path)
    assert answer.read1() == b"data: first\n\n", "before the second was sent"
    backend.go_on.set()
    assert answer.read() == b"data: second\n\n"


@pytest.mark.parametrize("path", ["/v1/stream-events-endless", "/v1/stream-audio-endless"])
def test_a_caller_that_leaves_ends_its_request_behind_caddy(caddy: Caddy, backend: Backend, path: str) -> None:
    answer = caddy.ask(path)
    assert answer.read1() == b"data: first\n\n"
    answer.close()
    caddy.connection.close()
    assert backend.left.get(timeout=PATIENCE) == path


def test_metrics_are_not_shown_to_everyone(caddy: Caddy) -> None:
    assert caddy.ask("/metrics").status == 404


@contextmanager
def echoing(seen: Queue[str]) -> Iterator[int]:
    """A WebSocket server on the returned port, which returns messages and notes the credentials of who connects."""

    def echo(tunnel: ServerConnection) -> None:
        assert tunnel.request is not None
        seen.put(tunnel.request.headers["Authorization"])
        for message in tunnel:
            tunnel.send(message)

    with serve(echo, "127.0.0.1", 0, subprotocols=[Subprotocol(SUBPROTOCOL)]) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.socket.getsockname()[1]
        finally:
            server.shutdown()
            thread.join()


def test_a_tunnel_passes_with_its_subprotocol_and_its_ticket(tmp_path: Path) -> None:
    seen: Queue[str] = Queue()
    headers = {"Authorization": "Bearer ticket"}
    with echoing(seen) as port, Caddy(tmp_path, port) as caddy:
        url = f"ws://127.0.0.1:{caddy.port}/tunnel"
        with connect(
            url, subprotocols=[Subprotocol(SUBPROTOCOL)], additional_headers=headers, open_timeout=PATIENCE
        ) as ws:
            assert ws.subprotocol == SUBPROTOCOL and seen.get(timeout=PATIENCE) == "Bearer ticket"
            for message in [b"", b"h2", bytes(65_536)]:
                ws.send(message)
                assert ws.recv(PATIENCE) == message
