"""A pull as an operator sees it, from a registry that stops in the middle: at the operation, and at the deployment."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.fixtures.agent_process import ROOT, Operator
from tests.fixtures.registry import Registry, registry
from tests.fixtures.serve import REGISTRATION_TOKEN, Serve
from tests.fixtures.waiting import eventually

pytestmark = pytest.mark.docker


@pytest.fixture
def operator(docker_engine: docker.DockerClient, serve: Serve, tmp_path: Path) -> Iterator[Operator]:
    """Of a control plane with one worker, which takes any image."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MUSTER_", "HF_"))}
    settings = {
        "HF_ENDPOINT": "http://127.0.0.1:1",
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "MUSTER_ALLOW_IMAGE": "*",
        "MUSTER_NAME": "host",
        "MUSTER_STATE_DIR": str(tmp_path / "state"),
        "MUSTER_TOKEN": REGISTRATION_TOKEN,
        "MUSTER_URL": serve.url,
    }
    with (tmp_path / "agent.log").open("wb") as log:
        agent = subprocess.Popen(
            [sys.executable, "-m", "agent"], cwd=ROOT, env=inherited | settings, stdout=log, stderr=log
        )
    operator = Operator(serve.url)
    eventually(lambda: operator.call("GET", "/api/workers")["workers"], bool, "the worker joined")
    yield operator
    agent.kill()
    agent.wait()


@pytest.fixture
def stuck() -> Iterator[Registry]:
    with registry(8_000_000, 40_000) as server:
        server.stalled.set()
        yield server


def pull(operator: Operator, image: str) -> str:
    (worker,) = operator.call("GET", "/api/workers")["workers"]
    asked = operator.call("POST", f"/api/workers/{worker['worker_id']}/images/pull", {"image": image})
    return str(asked["operation_id"])


def operation(operator: Operator, operation_id: str) -> Any:
    return operator.call("GET", f"/api/operations/{operation_id}")


def moves(seen: Any) -> bool:
    return bool(seen["progress"] and seen["progress"].get("current"))


def test_the_operation_shows_how_far_it_is_and_a_third_waits(operator: Operator, stuck: Registry) -> None:
    with registry(4_000_000) as second, registry(1000) as third:
        second.stalled.set()
        first_id, second_id = pull(operator, stuck.reference), pull(operator, second.reference)
        seen = eventually(lambda: operation(operator, first_id), moves, "the first moves")
        assert seen["status"] == "running"
        assert 0 < seen["progress"]["current"] < seen["progress"]["total"]
        assert 0 < seen["progress"]["percent"] < 50
        eventually(lambda: operation(operator, second_id), moves, "the second moves")
        third_id = pull(operator, third.reference)
        eventually(
            lambda: operation(operator, third_id), lambda o: o["progress"] == {"phase": "waiting"}, "the third waits"
        )
        for server in (stuck, second):
            server.stalled.clear()
            server.released.set()
        for each in (first_id, second_id, third_id):
            ended = eventually(partial(operation, operator, each), lambda o: o["status"] != "running", "it ended")
            assert ended["status"] == "succeeded", ended
            deleted = ended["output"]["id"].replace(":", "%3A")
            operator.call("DELETE", f"/api/workers/{ended['worker_id']}/images/{deleted}?force=true")


def test_a_deployment_shows_it_too_and_a_stop_calls_it_off(operator: Operator, stuck: Registry) -> None:
    deployment_id = operator.deploy(image=stuck.reference)
    seen = eventually(lambda: operator.see(deployment_id), moves, "it downloads")
    assert (seen["status"], seen["progress"]["phase"]) == ("downloading", "downloading")
    assert 0 < seen["progress"]["percent"] < 50
    eventually(
        lambda: operator.see(deployment_id)["progress"], lambda progress: progress.get("rate") == 0, "it stands still"
    )
    began = time.monotonic()
    operator.call("POST", f"/api/deployments/{deployment_id}/stop")
    operator.reach(deployment_id, "stopped")
    assert time.monotonic() - began < 20
    assert not stuck.released.is_set(), "it did not wait for the registry"
