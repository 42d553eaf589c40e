"""Reverse proxies as the docs have them, run by a real Caddy and a real nginx: what models need passes as it is."""

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
from tests.fixtures.markdown import blocks
from tests.fixtures.ports import free_port
from tests.fixtures.waiting import PATIENCE, eventually

CADDYFILE = (ROOT / "infra" / "server" / "Caddyfile").read_text()
SERVER, GLOBAL = "server:8000", "skip_install_trust"
NGINX_SERVER = "127.0.0.1:8000"
NGINX_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


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


class Front:
    """A reverse proxy without TLS, in front of a server of this process; what it needs is in `folder`.

    `most_of_control` is how many bytes of a body it passes to the control plane.
    """

    program: str
    most_of_control: int

    def __init__(self, folder: Path, backend_port: int) -> None:
        program = shutil.which(self.program) or unavailable(f"there is no {self.program} here: apt-get install it")
        self.port = free_port()
        self._log = folder / "front.log"
        arguments, environment = self.configured(folder, backend_port)
        environment |= {"PATH": os.environ["PATH"], "HOME": str(folder)}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([program, *arguments], cwd=folder, env=environment, stdout=log, stderr=log)

    def configured(self, folder: Path, backend_port: int) -> tuple[list[str], dict[str, str]]:
        """Write the configuration. Returns the program's arguments and variables."""
        raise NotImplementedError

    def __enter__(self) -> Front:
        eventually(self._is_up, what=f"{self.program} to listen")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
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


class Caddy(Front):
    """With the Caddyfile of the one-machine server."""

    program, most_of_control = "caddy", 6_000_000

    def configured(self, folder: Path, backend_port: int) -> tuple[list[str], dict[str, str]]:
        assert SERVER in CADDYFILE and GLOBAL in CADDYFILE
        text = CADDYFILE.replace(SERVER, f"127.0.0.1:{backend_port}").replace(GLOBAL, f"{GLOBAL}\n\tadmin off")
        (folder / "Caddyfile").write_text(text)
        environment = {"MUSTER_TLS": "", "MUSTER_DOMAIN": f"http://127.0.0.1:{self.port}"}
        return ["run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"], environment


class Nginx(Front):
    """With the example of docs/server.md."""

    program, most_of_control = "nginx", 2 * 1024 * 1024

    def configured(self, folder: Path, backend_port: int) -> tuple[list[str], dict[str, str]]:
        (outside, inside) = [block.text for block in blocks("docs/server.md") if block.language == "nginx"]
        assert NGINX_SERVER in inside
        inside = inside.replace(NGINX_SERVER, f"127.0.0.1:{backend_port}")
        temporary = "".join(f"{name}_temp_path {folder / name};\n" for name in NGINX_TEMPORARY)
        http = f"access_log off;\n{temporary}{outside}\nserver {{\nlisten 127.0.0.1:{self.port};\n{inside}}}"
        text = f"daemon off;\nuser root;\npid {folder / 'pid'};\nevents {{}}\nhttp {{\n{http}\n}}\n"
        (folder / "nginx.conf").write_text(text)
        return ["-c", str(folder / "nginx.conf"), "-e", "stderr"], {}


FRONTS = {front.program: front for front in (Caddy, Nginx)}


@pytest.fixture
def backend() -> Iterator[Backend]:
    with serving(Backend()) as backend:
        yield backend


@pytest.fixture(params=list(FRONTS))
def kind(request: pytest.FixtureRequest) -> type[Front]:
    return FRONTS[request.param]


@pytest.fixture
def front(tmp_path: Path, backend: Backend, kind: type[Front]) -> Iterator[Front]:
    with kind(tmp_path, backend.server_address[1]) as front:
        yield front


def test_a_body_for_a_model_is_as_large_as_the_gateway_takes_it(front: Front) -> None:
    assert (
        front.ask("/v1/audio/transcriptions", bytes(DEFAULT_MAX_BODY_BYTES)).read()
        == str(DEFAULT_MAX_BODY_BYTES).encode()
    )


def test_a_body_for_the_control_plane_has_a_limit(front: Front) -> None:
    assert front.ask("/api/deployments", bytes(front.most_of_control)).read() == str(front.most_of_control).encode()
    with suppress(ConnectionError):  # it may have closed while the body was sent
        assert front.ask("/api/deployments", bytes(front.most_of_control + 1)).status >= 400


@pytest.mark.parametrize("path", ["/v1/stream-events", "/v1/stream-audio"])
def test_a_stream_is_passed_on_event_by_event(front: Front, backend: Backend, path: str) -> None:
    answer = front.ask(path)
    assert answer.read1() == b"data: first\n\n", "before the second was sent"
    backend.go_on.set()
    assert answer.read() == b"data: second\n\n"


@pytest.mark.parametrize("path", ["/v1/stream-events-endless", "/v1/stream-audio-endless"])
def test_a_caller_that_leaves_ends_its_request_behind_it(front: Front, backend: Backend, path: str) -> None:
    answer = front.ask(path)
    assert answer.read1() == b"data: first\n\n"
    answer.close()
    front.connection.close()
    assert backend.left.get(timeout=PATIENCE) == path


def test_metrics_are_not_shown_to_everyone(front: Front) -> None:
    assert front.ask("/metrics").status == 404


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


def test_a_tunnel_passes_with_its_subprotocol_and_its_ticket(tmp_path: Path, kind: type[Front]) -> None:
    seen: Queue[str] = Queue()
    headers = {"Authorization": "Bearer ticket"}
    with echoing(seen) as port, kind(tmp_path, port) as front:
        url = f"ws://127.0.0.1:{front.port}/tunnel"
        with connect(
            url, subprotocols=[Subprotocol(SUBPROTOCOL)], additional_headers=headers, open_timeout=PATIENCE
        ) as ws:
            assert ws.subprotocol == SUBPROTOCOL and seen.get(timeout=PATIENCE) == "Bearer ticket"
            for message in [b"", b"h2", bytes(65_536)]:
                ws.send(message)
                assert ws.recv(PATIENCE) == message
