"""Real processes: serve, an agent with the process engine, and the stand-in for vLLM; each may be killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
import requests

from tests.conformance.serve import ADMIN_KEY, REGISTRATION_TOKEN, Serve

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
MARK = "TEST_HOST"
ADDRESS = f"127.{1 + (os.getpid() >> 16)}.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
"""An address of this machine that no other process's tests use: agents of several would all take the first port."""
T = TypeVar("T")


def until(look: Callable[[], T], is_there: Callable[[T], bool], what: str, seconds: float = PATIENCE) -> T:
    """Real processes take their time: look until it is there, for a minute at most."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        seen = look()
        if is_there(seen):
            return seen
        time.sleep(0.1)
    raise AssertionError(f"{what}: still {seen}")


class Host:
    """One agent on this machine, with a state directory of its own."""

    def __init__(self, folder: Path, url: str, name: str = "host", token: str = REGISTRATION_TOKEN) -> None:
        self.folder, self.url, self.name, self.address, self._token = folder, url, name, ADDRESS, token
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MUSTER_"))}

    def start(self) -> None:
        arguments = ["--url", self.url, "--name", self.name, "--state-dir", str(self.folder / "state")]
        standin = f"{sys.executable} {ROOT / 'infra' / 'standin.py'}"
        arguments += ["--engine", "process", "--address", self.address, "--vllm-command", standin]
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agent", *arguments],
                cwd=ROOT,
                env=self.environment | {"MUSTER_TOKEN": self._token, MARK: str(self.folder), "HF_HUB_OFFLINE": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def models(self) -> list[int]:
        """Process ids of the stand-ins below this host's folder, whoever may have started them there."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):  # others come and go
                line = process.cmdline()
                is_model = len(line) > 1 and line[1].endswith("standin.py")
                if is_model and process.environ().get(MARK) == str(self.folder):
                    found.append(process.pid)
        return found

    def end(self) -> None:
        self.kill()
        for pid in self.models():
            psutil.Process(pid).kill()


class Operator:
    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        answer = requests.request(method, self.url + path, json=body, headers=headers, timeout=40)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def deploy(self, **body: Any) -> str:
        return str(self.call("POST", "/api/deployments", {"model": "org/tiny", "gpus": 0, **body})["deployment_id"])

    def see(self, deployment_id: str) -> Any:
        try:
            return self.call("GET", f"/api/deployments/{deployment_id}")
        except requests.ConnectionError:
            return {"status": "the control plane is down"}

    def reach(self, deployment_id: str, status: str) -> Any:
        return until(lambda: self.see(deployment_id), lambda seen: seen["status"] == status, status)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    serve = Serve(tmp_path / "data", MUSTER_HEARTBEAT="1")
    serve.start()
    yield serve
    serve.stop()


@pytest.fixture
def host(serve: Serve, tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path, serve.url)
    host.start()
    yield host
    host.end()


def test_from_nothing_to_a_completion_through_kills_of_both_sides(serve: Serve, host: Host) -> None:
    operator = Operator(serve.url)
    until(lambda: operator.call("GET", "/api/workers")["workers"], bool, "the worker joined")
    deployment_id = operator.deploy(env={"STANDIN_LOAD_SECONDS": "3"})
    operator.reach(deployment_id, "starting")
    serve.kill()
    time.sleep(1)  # the model goes on loading while nobody listens
    serve.start()
    seen = operator.reach(deployment_id, "running")
    assert len(host.models()) == 1

    before = host.models()
    host.kill()
    host.start()
    until(lambda: (host.folder / "agent.log").read_text().count("registered"), lambda n: n >= 2, "registered again")
    assert host.models() == before, "adopted, neither killed nor doubled"

    question = {"model": "org/tiny", "messages": [{"role": "user", "content": "marmalade"}]}
    answer = requests.post(
        f"{seen['endpoint']}/v1/chat/completions",
        json=question,
        headers={"Authorization": f"Bearer {seen['api_key']}"},
        timeout=10,
    ).json()
    said = answer["choices"][0]["message"]["content"]
    assert "marmalade" in said and "org/tiny" in said and str(before[0]) in said

    logs = operator.call("GET", f"/api/deployments/{deployment_id}/logs?lines=50")["logs"]
    assert "Application startup complete" in logs
    operator.call("POST", f"/api/deployments/{deployment_id}/stop")
    operator.reach(deployment_id, "stopped")
    assert host.models() == []


def test_a_crash_comes_with_its_reason(serve: Serve, host: Host) -> None:
    operator = Operator(serve.url)
    until(lambda: operator.call("GET", "/api/workers")["workers"], bool, "the worker joined")
    deployment_id = operator.deploy(env={"STANDIN_CRASH": "cuda_oom"}, restart="never")
    seen = operator.reach(deployment_id, "error")
    assert seen["error_code"] == "CUDA_OUT_OF_MEMORY"
    assert seen["last_crash"]["logs"]
