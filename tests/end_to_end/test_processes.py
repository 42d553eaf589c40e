"""Real processes: serve, an agent with the process engine, and the stand-in for vLLM; each may be killed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.fixtures.agent_process import Operator, ProcessHost
from tests.fixtures.serve import Serve
from tests.fixtures.waiting import eventually


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    serve = Serve(tmp_path / "data", MUSTER_HEARTBEAT="1")
    serve.start()
    yield serve
    serve.stop()


@pytest.fixture
def host(serve: Serve, tmp_path: Path) -> Iterator[ProcessHost]:
    host = ProcessHost(tmp_path, serve.url)
    host.start()
    yield host
    host.end()


def test_from_nothing_to_a_completion_through_kills_of_both_sides(serve: Serve, host: ProcessHost) -> None:
    operator = Operator(serve.url)
    eventually(lambda: operator.call("GET", "/api/workers")["workers"], bool, "the worker joined")
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
    eventually(
        lambda: (host.folder / "agent.log").read_text().count("registered"), lambda n: n >= 2, "registered again"
    )
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


def test_a_crash_comes_with_its_reason(serve: Serve, host: ProcessHost) -> None:
    operator = Operator(serve.url)
    eventually(lambda: operator.call("GET", "/api/workers")["workers"], bool, "the worker joined")
    deployment_id = operator.deploy(env={"STANDIN_CRASH": "cuda_oom"}, restart="never")
    seen = operator.reach(deployment_id, "error")
    assert seen["error_code"] == "CUDA_OUT_OF_MEMORY"
    assert seen["last_crash"]["logs"]
