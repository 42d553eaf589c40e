"""Real processes: serve, an agent with the process engine, and the stand-in for vLLM; each may be killed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import requests

from tests.fixtures.agent_process import Operator, ProcessHost
from tests.fixtures.serve import Serve
from tests.fixtures.waiting import PATIENCE, eventually

NUMBERS = count(1)


@pytest.fixture
def operator(serve: Serve) -> Operator:
    return Operator(serve.url)


@pytest.fixture
def host(serve: Serve, operator: Operator, tmp_path: Path) -> Iterator[ProcessHost]:
    token = operator.call("POST", "/api/registration-tokens", {})["token"]
    host = ProcessHost(tmp_path, serve.url, f"host-{next(NUMBERS)}", token)
    host.start()
    try:
        yield host
    finally:
        host.end()


def joined(operator: Operator, host: ProcessHost) -> str:
    """The id of its worker."""
    workers = eventually(
        lambda: [each for each in operator.call("GET", "/api/workers")["workers"] if each["name"] == host.name],
        bool,
        "the worker joined",
    )
    return str(workers[0]["worker_id"])


def is_loaded(host: ProcessHost) -> bool:
    """Whether its model says so in its log, which is on this machine."""
    logs = (host.folder / "state" / "processes").glob("*/log")
    return any(b"Application startup complete" in each.read_bytes() for each in logs)


def test_from_nothing_to_a_completion_through_kills_of_both_sides(
    serve: Serve, operator: Operator, host: ProcessHost
) -> None:
    deployment_id = operator.deploy(worker_id=joined(operator, host), env={"STANDIN_LOAD_SECONDS": "3"})
    operator.reach(deployment_id, "starting")
    serve.kill()
    eventually(lambda: is_loaded(host), what="the model to go on loading while nobody listens")
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
        timeout=PATIENCE,
    ).json()
    said = answer["choices"][0]["message"]["content"]
    assert "marmalade" in said and "org/tiny" in said and str(before[0]) in said

    logs = operator.call("GET", f"/api/deployments/{deployment_id}/logs?lines=50")["logs"]
    assert "Application startup complete" in logs
    operator.call("POST", f"/api/deployments/{deployment_id}/stop")
    operator.reach(deployment_id, "stopped")
    assert host.models() == []


def test_a_crash_comes_with_its_reason(operator: Operator, host: ProcessHost) -> None:
    deployment_id = operator.deploy(
        worker_id=joined(operator, host), env={"STANDIN_CRASH": "cuda_oom"}, restart="never"
    )
    seen = operator.reach(deployment_id, "error")
    assert seen["error_code"] == "CUDA_OUT_OF_MEMORY"
    assert seen["last_crash"]["logs"]
