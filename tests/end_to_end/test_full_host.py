"""A host whose disk is full to the last byte, with the agent's state, Docker's root and the weights all on it, is
freed through the API: real processes, a real engine and a real registry."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.fixtures.agent_process import ROOT, Operator
from tests.fixtures.docker_daemon import OwnDaemon
from tests.fixtures.real_registry import RealRegistry, real_registry
from tests.fixtures.serve import REGISTRATION_TOKEN, Serve
from tests.fixtures.small_disk import fill, small_disk
from tests.fixtures.waiting import eventually

pytestmark = pytest.mark.docker
MIB = 1024 * 1024


class FullHost:
    """An agent whose everything is on one small disk."""

    def __init__(self, folder: Path, disk: Path, docker_host: str, serve: Serve) -> None:
        self.disk, self._log = disk, folder / "agent.log"
        self._operator = Operator(serve.url)
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MUSTER_", "HF_"))} | {
            "DOCKER_HOST": docker_host,
            "HF_ENDPOINT": "http://127.0.0.1:1",
            "HF_HUB_CACHE": str(disk / "hub"),
            "MUSTER_TOKEN": REGISTRATION_TOKEN,
            "MUSTER_URL": serve.url,
            "MUSTER_NAME": "host",
            "MUSTER_STATE_DIR": str(disk / "state"),
        }
        self.start()
        seen = eventually(lambda: self._operator.call("GET", "/api/workers")["workers"], bool, "the worker joined")
        self._path = f"/api/workers/{seen[0]['worker_id']}"

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "agent"], cwd=ROOT, env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """What it answers in the end, however long that takes."""
        answer = self._operator.call(method, self._path + path, body)
        if "operation_id" not in answer:
            return answer
        ended = self.ended(answer["operation_id"])
        assert ended["status"] == "succeeded", ended
        return ended["output"]

    def begin(self, method: str, path: str, body: Any) -> str:
        return str(self._operator.call(method, self._path + path, body)["operation_id"])

    def ended(self, operation_id: str) -> Any:
        return eventually(
            lambda: self._operator.call("GET", f"/api/operations/{operation_id}"),
            lambda operation: operation["status"] in ("succeeded", "failed"),
            "it came to an end",
        )

    def free(self) -> int:
        return shutil.disk_usage(self.disk).free

    def cache(self, model: str, size: int) -> None:
        blobs = self.disk / "hub" / f"models--{model.replace('/', '--')}" / "blobs"
        blobs.mkdir(parents=True)
        (blobs / "weights").write_bytes(bytes(size))


@pytest.fixture
def host(docker_engine: docker.DockerClient, serve: Serve, tmp_path: Path) -> Iterator[FullHost]:
    if os.geteuid() != 0:
        pytest.skip("only root may mount the small disk that is to be filled")
    with small_disk(tmp_path / "disk", "120m") as disk:
        daemon = OwnDaemon(disk / "docker")
        daemon.start()
        host = FullHost(tmp_path, disk, daemon.url, serve)
        yield host
        host.kill()
        daemon.end()


@pytest.fixture
def store(docker_engine: docker.DockerClient, tmp_path: Path) -> Iterator[RealRegistry]:
    with real_registry(docker_engine, tmp_path / "registry") as server:
        yield server


def test_a_host_full_to_the_last_byte_is_freed_through_the_api(host: FullHost, store: RealRegistry) -> None:
    first, second = store.push("first:1", 5 * MIB), store.push("second:1", 4 * MIB)
    for each in (first, second):
        host.call("POST", "/images/pull", {"image": each})
    host.cache("org/old", 3 * MIB)
    fill(host.disk)
    assert host.free() == 0

    # It can still be looked at: nothing of that has to be written down.
    listed = host.call("GET", "/images?fresh=true")["images"]
    assert {tag for each in listed for tag in each["tags"]} == {first, second}
    assert host.call("GET", "/models")["models"] == [{"model": "org/old", "size": 3 * MIB}]
    usage = host.call("GET", "/storage/disk?fresh=true")
    full = {each["purpose"]: (each["path"].removeprefix(f"{host.disk}/"), each["free"]) for each in usage["paths"]}
    assert full == {"images": ("docker", 0), "state": ("state", 0), "models": ("hub", 0)}
    promised = host.call("POST", "/storage/prune", {"images": True, "dry_run": True})["space_reclaimed"]
    assert promised >= 9 * MIB

    fill(host.disk)
    assert host.call("DELETE", f"/images/{first.replace('/', '%2F').replace(':', '%3A')}")["deleted"]
    assert host.free() > 4 * MIB

    # Also by an agent that was started on it.
    fill(host.disk)
    host.kill()
    host.start()
    assert host.call("POST", "/storage/prune", {"images": True})["space_reclaimed"] >= 4 * MIB
    assert host.call("GET", "/images?fresh=true")["images"] == []
    assert host.free() > 3 * MIB

    # Even where what the agent kept back for this is gone.
    (host.disk / "state" / "reserve").unlink()
    fill(host.disk)
    assert host.call("DELETE", "/models/org%2Fold")["deleted"] == ["org/old"]
    assert host.free() > 2 * MIB


def test_an_image_that_does_not_fit_says_so(host: FullHost, store: RealRegistry) -> None:
    large = store.push("large:1", 70 * MIB)
    operation_id = host.begin("POST", "/images/pull", {"image": large})
    ended = host.ended(operation_id)
    assert ended["error_code"] == "DISK_FULL"
    assert "prune, or delete" in ended["message"]
