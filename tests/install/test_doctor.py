"""`muster-agent doctor` as an operator runs it, beside a real control plane."""

from __future__ import annotations

import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Thread

import pytest

from tests.fixtures.agent_process import Operator, ProcessHost
from tests.fixtures.http_server import HttpServer
from tests.fixtures.serve import REGISTRATION_TOKEN, Serve
from tests.fixtures.waiting import PATIENCE, eventually

NOWHERE = "unix:///nowhere/docker.sock"


def doctor(folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MUSTER_")}
    done = subprocess.run(
        [sys.executable, "-m", "muster_agent", "doctor", "--state-dir", str(folder / "state"), *arguments],
        env=clean | {"HF_HOME": str(folder)} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_host_that_may_join(serve: Serve, tmp_path: Path) -> None:
    code, said = doctor(
        tmp_path,
        *("--engine", "process", "--vllm-command", f"{sys.executable} -m vllm"),
        MUSTER_URL=serve.url,
        MUSTER_TOKEN=REGISTRATION_TOKEN,
    )
    assert code == 0, said
    assert f"{serve.url} is healthy" in said and "a registration token is set" in said
    assert REGISTRATION_TOKEN not in said
    assert not (tmp_path / "state").exists(), "it changes nothing"


def test_everything_that_is_wrong_is_said_at_once_with_what_to_do(tmp_path: Path) -> None:
    code, said = doctor(tmp_path, "--url", "http://127.0.0.1:1", DOCKER_HOST=NOWHERE)
    assert code == 1
    for subject, advice in (
        ("docker", "systemctl start docker"),
        ("api", "firewalls"),
        ("token", "POST /api/registration-tokens"),
    ):
        bad = said.index(f"bad     {subject}: ")
        assert advice in said[bad:].splitlines()[1], said


@pytest.mark.parametrize(
    ("url", "expected"),
    [("http://muster.example.com", "--insecure"), ("muster", "expected https://"), (None, "give --url or MUSTER_URL")],
)
def test_a_url_that_will_not_do(url: str | None, expected: str, tmp_path: Path) -> None:
    code, said = doctor(tmp_path, *(["--url", url] if url else []), DOCKER_HOST=NOWHERE)
    assert code == 1 and expected in said


def test_an_api_key_lets_no_host_join(serve: Serve, tmp_path: Path) -> None:
    code, said = doctor(tmp_path, "--url", serve.url, MUSTER_TOKEN="mst_key_secret", DOCKER_HOST=NOWHERE)
    assert code == 1 and "this is an API key" in said and "mst_key_secret" not in said


class Elsewhere(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(301)
        self.send_header("Location", "https://elsewhere.example/")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nobody reads it."""


def test_a_control_plane_that_redirects(tmp_path: Path) -> None:
    with HttpServer(("127.0.0.1", 0), Elsewhere) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        _, said = doctor(tmp_path, "--url", f"http://127.0.0.1:{server.server_port}", DOCKER_HOST=NOWHERE)
        server.shutdown()
    assert "redirects elsewhere" in said


def test_the_token_of_a_worker_that_runs_and_of_one_that_was_removed(serve: Serve, tmp_path: Path) -> None:
    host, operator = ProcessHost(tmp_path, serve.url), Operator(serve.url)
    host.start()
    try:
        (worker,) = eventually(lambda: operator.call("GET", "/api/workers")["workers"], bool, "the worker joined")
        said = eventually(
            lambda: doctor(tmp_path, "--url", serve.url)[1], lambda said: "this host is" in said, "it is known"
        )
        assert f"this host is worker {worker['worker_id']}" in said
        operator.call("DELETE", f"/api/workers/{worker['worker_id']}?force=true")
        eventually(lambda: doctor(tmp_path, "--url", serve.url)[1], lambda said: "parked" in said, "it is parked")
    finally:
        host.end()
