"""The stand-in for vLLM: vLLM's flags, lines, endpoints and failures, and no pretending."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from infra.fake_vllm import CRASHES, Server, parsed
from infra.fake_vllm_image import STANDIN
from muster.diagnostics.log import diagnose
from tests.fixtures.ports import free_port
from tests.fixtures.waiting import PATIENCE, deadline, eventually


def finished(*arguments: str, **env: str) -> tuple[int, str]:
    run = subprocess.run(
        [sys.executable, STANDIN, *arguments],
        env={**os.environ, "STANDIN_LOAD_SECONDS": "0", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return run.returncode, run.stdout


class Running:
    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url

    def get(self, path: str, key: str = "", timeout: float = PATIENCE) -> requests.Response:
        return requests.get(self.url + path, headers=self._headers(key), timeout=timeout)

    def post(self, path: str, body: object, key: str = "") -> requests.Response:
        return requests.post(self.url + path, data=json.dumps(body), headers=self._headers(key), timeout=PATIENCE)

    def healthy(self) -> bool:
        try:
            return self.get("/health").status_code == 200
        except requests.RequestException:
            return False

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(self.url.rpartition(":")[2]))) == 0

    def _headers(self, key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key}"} if key else {}


@contextmanager
def running(*arguments: str, **env: str) -> Iterator[Running]:
    """Since it answers, or listens where it hangs."""
    port = free_port()
    with subprocess.Popen(
        [sys.executable, STANDIN, *arguments, "--host", "127.0.0.1", "--port", str(port)],
        env={**os.environ, "STANDIN_LOAD_SECONDS": "0", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        standin = Running(process, f"http://127.0.0.1:{port}")
        try:
            eventually(standin.listens if "STANDIN_HANG_AFTER" in env else standin.healthy)
            yield standin
        finally:
            process.kill()


def test_an_answer_has_the_prompt_the_name_and_the_process() -> None:
    with running("org/model", "--served-model-name", "chat", "also", "--max_model_len=4096") as standin:
        assert [each["id"] for each in standin.get("/v1/models").json()["data"]] == ["chat", "also"]
        message: dict[str, Any] = {"role": "user", "content": "seven blue horses"}
        answer = standin.post("/v1/chat/completions", {"model": "chat", "messages": [message]}).json()
        text = answer["choices"][0]["message"]["content"]
        for part in ("seven blue horses", "chat", str(standin.process.pid), "no model runs here"):
            assert part in text
        plain = standin.post("/v1/completions", {"prompt": "horses"}).json()
        assert "horses" in plain["choices"][0]["text"]
        stream = standin.post("/v1/chat/completions", {"model": "chat", "messages": [message], "stream": True}).text
        pieces = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
        assert "".join(each["choices"][0]["delta"].get("content", "") for each in pieces).strip() == text
        assert stream.endswith("data: [DONE]\n\n")
        asked = {"model": "chat", "messages": [message], "stream": True, "stream_options": {"include_usage": True}}
        *_, last, _ = standin.post("/v1/chat/completions", asked).text.strip().split("\n\n")
        assert json.loads(last[6:])["usage"]["prompt_tokens"] > 0
        assert "standin" in standin.get("/version").json()["version"]
        assert "vllm:" in standin.get("/metrics").text
        assert standin.post("/v1/completions", {"model": "other", "prompt": "x"}).status_code == 404
        nonsense: list[object] = [[], {}, {"messages": []}, {"messages": [{"content": 5}]}]
        for wrong in nonsense:
            assert standin.post("/v1/chat/completions", wrong).status_code == 400


@pytest.mark.parametrize(("arguments", "env"), [(["--api-key", "k"], {}), ([], {"VLLM_API_KEY": "k"})])
def test_a_key_guards_v1_alone(arguments: list[str], env: dict[str, str]) -> None:
    with running("--model", "org/model", *arguments, **env) as standin:
        assert standin.get("/health").status_code == 200
        assert standin.get("/v1/models").status_code == 401
        assert standin.get("/v1/models", "wrong").status_code == 401
        assert standin.get("/v1/models", "k").status_code == 200


def test_it_needs_shared_memory_as_vllm_does() -> None:
    code, output = finished("m", STANDIN_SHM_MIB=str(2**40))
    found = diagnose(output, code, oom_killed=False)
    assert (code, found.error_code) == (1, "SHM_TOO_SMALL")
    with running("m", STANDIN_SHM_MIB="1") as standin:
        assert standin.healthy()


def test_its_log_is_in_the_order_of_vllms() -> None:
    with running("org/model") as standin:
        standin.process.terminate()
        with deadline(standin.process):
            output, _ = standin.process.communicate()
        assert standin.process.returncode == 0
    lines = [
        "non-default args:",
        "Resolved architecture",
        "Starting to load model",
        "Loading weights took",
        "init engine",
    ]
    lines += ["Starting vLLM server on", "Application startup complete."]
    places = [output.index(line) for line in lines]
    assert places == sorted(places)
    assert "no model runs here" in output


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code"),
    [
        (["m", "--no-such-flag"], 2, "INVALID_CONFIG"),
        (["m", "--max-model-len", "long"], 2, "INVALID_CONFIG"),
        ([], 2, "INVALID_CONFIG"),
        (["m", "--max-model-len", "9999999"], 1, "CONTEXT_TOO_LONG"),
        (["m", "--gpu-memory-utilization", "1.7"], 1, "INVALID_CONFIG"),
        (["/no/such/folder"], 1, "MODEL_NOT_FOUND"),
    ],
)
def test_it_fails_as_vllm_does(arguments: list[str], exit_code: int, code: str) -> None:
    seen, output = finished(*arguments)
    assert seen == exit_code
    assert diagnose(output, seen, False).error_code == code


@pytest.mark.parametrize("kind", sorted(CRASHES))
def test_it_crashes_on_request(kind: str) -> None:
    seen, output = finished("m", STANDIN_CRASH=kind)
    assert seen == 1
    assert CRASHES[kind].split(".")[0] in diagnose(output, seen, False).message


def test_it_exits_and_is_killed_on_request() -> None:
    assert finished("m", STANDIN_CRASH="exit0")[0] == 0
    assert finished("m", STANDIN_CRASH="exit3")[0] == 3
    assert finished("m", STANDIN_CRASH="killed")[0] == -signal.SIGKILL


def test_it_hangs_and_is_deaf_on_request() -> None:
    with running("m", STANDIN_HANG_AFTER="0", STANDIN_IGNORE_SIGTERM="1") as standin:
        with pytest.raises(requests.ReadTimeout):
            standin.get("/health", timeout=0.5)
        ignored = re.search(r"^SigIgn:\s*(\w+)$", Path(f"/proc/{standin.process.pid}/status").read_text(), re.M)
        assert ignored and int(ignored[1], 16) & 1 << signal.SIGTERM - 1
        standin.process.terminate()
        assert standin.process.poll() is None


def test_it_hangs_no_sooner_than_it_was_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STANDIN_HANG_AFTER", "1000000")
    with Server(parsed(["m", "--host", "127.0.0.1", "--port", "0"])) as server:
        assert not server.hangs
        server.since -= 1_000_001
        assert server.hangs
