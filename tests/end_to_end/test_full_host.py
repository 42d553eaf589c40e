"""A host whose disk is full to the last byte, with the agent's state, Docker's root and the weights all on it, is
freed through the API: real processes, a real engine and a real registry."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.docker_agent import DockerHost, docker_host
from tests.fixtures.docker_daemon import OwnDaemon, can_be_had, own_daemon
from tests.fixtures.hub_server import HubServer
from tests.fixtures.real_registry import RealRegistry, real_registry
from tests.fixtures.serve import Serve
from tests.fixtures.small_disk import fill, small_disk
from tests.fixtures.waiting import eventually

pytestmark = pytest.mark.docker
MIB = 1024 * 1024


class FullHost:
    """An agent whose state, Docker root, and model cache are on one small disk."""

    def __init__(self, host: DockerHost, disk: Path) -> None:
        self.agent, self.disk = host, disk

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """What it answers in the end, however long that takes."""
        answer = self.agent.call(method, path, body)
        if "operation_id" not in answer:
            return answer
        ended = self.ended(answer["operation_id"])
        assert ended["status"] == "succeeded", ended
        return ended["output"]

    def begin(self, method: str, path: str, body: Any) -> str:
        return str(self.agent.call(method, path, body)["operation_id"])

    def ended(self, operation_id: str) -> Any:
        return eventually(
            lambda: self.agent.operator.call("GET", f"/api/operations/{operation_id}"),
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
def host(serve: Serve, hub: HubServer, tmp_path: Path) -> Iterator[FullHost]:
    can_be_had()
    disk = tmp_path / "disk"
    with small_disk(disk, "120m"), own_daemon(disk / "docker") as daemon:
        places = {"HF_HUB_CACHE": str(disk / "hub"), "MUSTER_STATE_DIR": str(disk / "state")}
        with docker_host(tmp_path, serve, daemon, hub, **places) as agent:
            yield FullHost(agent, disk)


@pytest.fixture
def store(daemon: OwnDaemon, tmp_path: Path) -> Iterator[RealRegistry]:
    """Images reach it from a daemon that has room for them."""
    with real_registry(daemon.client, tmp_path / "registry") as server:
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
    host.agent.kill()
    host.agent.start()
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
