"""A pull as an operator sees it, from a registry that stops in the middle: at the operation, and at the deployment."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.docker_agent import DockerHost, docker_host
from tests.fixtures.docker_daemon import OwnDaemon
from tests.fixtures.hub_server import HubServer
from tests.fixtures.registry import Registry, registry
from tests.fixtures.serve import Serve
from tests.fixtures.waiting import eventually

pytestmark = pytest.mark.docker


@pytest.fixture
def host(serve: Serve, daemon: OwnDaemon, hub: HubServer, tmp_path: Path) -> Iterator[DockerHost]:
    """Its agent takes any image."""
    with docker_host(tmp_path, serve, daemon, hub, MUSTER_ALLOW_IMAGE="*") as host:
        yield host


@pytest.fixture
def stuck() -> Iterator[Registry]:
    with registry(8_000_000, 40_000) as server:
        server.stalled.set()
        yield server


def pull(host: DockerHost, image: str) -> str:
    return str(host.call("POST", "/images/pull", {"image": image})["operation_id"])


def operation(host: DockerHost, operation_id: str) -> Any:
    return host.operator.call("GET", f"/api/operations/{operation_id}")


def moves(seen: Any) -> bool:
    return bool(seen["progress"] and seen["progress"].get("current"))


def test_the_operation_shows_how_far_it_is_and_a_third_waits(host: DockerHost, stuck: Registry) -> None:
    with registry(4_000_000) as second, registry(1000) as third:
        second.stalled.set()
        first_id, second_id = pull(host, stuck.reference), pull(host, second.reference)
        seen = eventually(lambda: operation(host, first_id), moves, "the first moves")
        assert seen["status"] == "running"
        assert 0 < seen["progress"]["current"] < seen["progress"]["total"]
        assert 0 < seen["progress"]["percent"] < 50
        eventually(lambda: operation(host, second_id), moves, "the second moves")
        third_id = pull(host, third.reference)
        eventually(
            lambda: operation(host, third_id), lambda o: o["progress"] == {"phase": "waiting"}, "the third waits"
        )
        for server in (stuck, second):
            server.stalled.clear()
            server.released.set()
        for each in (first_id, second_id, third_id):
            ended = eventually(partial(operation, host, each), lambda o: o["status"] != "running", "it ended")
            assert ended["status"] == "succeeded", ended
            deleted = ended["output"]["id"].replace(":", "%3A")
            host.call("DELETE", f"/images/{deleted}?force=true")


def test_a_deployment_shows_it_too_and_a_stop_calls_it_off(host: DockerHost, stuck: Registry) -> None:
    deployment_id = host.deploy(image=stuck.reference)
    seen = eventually(lambda: host.operator.see(deployment_id), moves, "it downloads")
    assert (seen["status"], seen["progress"]["phase"]) == ("downloading", "downloading")
    assert 0 < seen["progress"]["percent"] < 50
    eventually(
        lambda: host.operator.see(deployment_id)["progress"],
        lambda progress: progress.get("rate") == 0,
        "it stands still",
    )
    host.end(deployment_id)
    assert not stuck.released.is_set(), "it did not wait for the registry"
