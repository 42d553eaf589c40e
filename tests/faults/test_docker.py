"""What can go wrong around a Docker engine: pulls through kills of both sides, the engine restarted in the middle of
one, and the state folder deleted, where labels alone say whose a container is.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from infra import fake_vllm_image
from muster.api.lifecycle import OPEN
from tests.faults.conftest import Planes
from tests.faults.proxy import Deck, Proxy
from tests.faults.rig import Plane, delete
from tests.fixtures.docker_agent import DockerHost, answers, containers, docker_host, only
from tests.fixtures.docker_daemon import OwnDaemon
from tests.fixtures.docker_front import docker_front
from tests.fixtures.hub_server import HubServer
from tests.fixtures.registry import MANIFESTS, Registry, registry
from tests.fixtures.waiting import PATIENCE, eventually

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("at_length")]
KILLS = 4
SEED = 20261124
WAITS = (0.0, 0.6)
"""Seconds between the middle of a pull and the kill, at least and at most."""


class StandinRegistry(Registry):
    """Has an image that runs. Its weights are what a daemon that had such an image before still has to fetch."""

    def _make(self, sizes: tuple[int, ...]) -> bytes:
        return self._image([fake_vllm_image.root(), *self._weights(sizes)], fake_vllm_image.ENTRYPOINT)


@contextmanager
def stuck(*sizes: int, kind: type[Registry] = Registry) -> Iterator[Registry]:
    """Stands still in the middle of each layer until `go`."""
    with registry(*sizes, kind=kind) as server:
        server.stalled.set()
        yield server


def go(server: Registry) -> None:
    server.stalled.clear()
    server.released.set()


def worker(
    folder: Path, plane: Plane, daemon: OwnDaemon, hub: HubServer, name: str, **settings: str
) -> AbstractContextManager[DockerHost]:
    """An agent that runs any image."""
    return docker_host(folder, plane.serve, daemon, hub, name, MUSTER_ALLOW_IMAGE="*", **settings)


def pull(host: DockerHost, server: Registry) -> str:
    return str(host.call("POST", "/images/pull", {"image": server.reference})["operation_id"])


def operation(host: DockerHost, operation_id: str) -> Any:
    return host.operator.call("GET", f"/api/operations/{operation_id}")


def in_the_middle(host: DockerHost, operation_id: str) -> None:
    eventually(
        lambda: operation(host, operation_id)["progress"], lambda seen: seen and seen["current"], "it is under way"
    )


def ended(host: DockerHost, operation_id: str) -> str:
    """How."""
    seen = eventually(lambda: operation(host, operation_id), lambda seen: seen["status"] not in OPEN, "it has ended")
    return str(seen["error_code"] or seen["status"])


def test_pulls_run_once_through_kills(planes: Planes, daemon: OwnDaemon, hub: HubServer, tmp_path: Path) -> None:
    random, deck = Random(SEED), Deck(SEED)
    ends: Counter[tuple[str, str]] = Counter()
    with planes(tmp_path) as plane, ExitStack() as stack:
        proxy = Proxy(plane.serve.port, deck)
        stack.callback(proxy.end)
        with worker(tmp_path, plane, daemon, hub, "puller", MUSTER_URL=proxy.url) as host:
            for victim in ("agent", "serve") * (KILLS // 2):
                with stuck(2_000_000) as server:
                    operation_id = pull(host, server)
                    in_the_middle(host, operation_id)
                    time.sleep(random.uniform(*WAITS))
                    killed = host if victim == "agent" else plane.serve
                    killed.kill()
                    killed.start()
                    go(server)
                    ends[victim, ended(host, operation_id)] += 1
                    assert server.asked[f"HEAD {MANIFESTS}/1"] == 1, f"pulled again: {server.asked}"
    print(f"pulls: {dict(ends)}; faults: {dict(deck.happened)}")
    assert ends == {("agent", "INTERRUPTED"): KILLS // 2, ("serve", "succeeded"): KILLS // 2}
    assert deck.rarest() >= 1, deck.happened


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_docker_restarted_in_mid_pull(
    calm_plane: Plane, daemon: OwnDaemon, hub: HubServer, tmp_path: Path, how: str
) -> None:
    name = f"restarted-{how}"
    with stuck(2_000_000, kind=StandinRegistry) as server, worker(tmp_path, calm_plane, daemon, hub, name) as host:
        operation_id, deployment_id = pull(host, server), host.deploy(image=server.reference)
        in_the_middle(host, operation_id)
        host.operator.reach(deployment_id, "downloading")
        getattr(daemon, how)()
        daemon.start()
        go(server)
        assert ended(host, operation_id) == "succeeded"
        seen = host.operator.reach(deployment_id, "running")
        assert answers(seen)
        assert only(daemon).id == seen["container_id"]
        assert host.process.poll() is None


def test_a_daemon_that_hangs_holds_up_neither_the_agent_nor_what_runs(
    calm_plane: Plane, daemon: OwnDaemon, hub: HubServer, tmp_path: Path
) -> None:
    with docker_front(tmp_path, daemon.url) as front:
        front.hang()
        with worker(tmp_path, calm_plane, daemon, hub, "hung", DOCKER_HOST=front.url) as host:
            waiting = host.deploy()
            eventually(host.log.read_text, lambda said: "condition EngineUnavailable" in said, "it says so")
            assert host.operator.see(waiting)["error_code"] is None
            front.go_on()
            before = host.operator.reach(waiting, "running")
            front.hang()
            beats = calm_plane.worker("hung")["last_seen"]
            eventually(lambda: host.operator.see(waiting), answers, "the model itself answers")
            eventually(lambda: calm_plane.worker("hung")["last_seen"], lambda seen: seen > beats, "it is heard")
            host.kill()
            host.start()
            session = calm_plane.worker("hung")["session"]
            eventually(lambda: calm_plane.worker("hung")["session"], lambda seen: seen > session, "it joins")
            front.go_on()
            host.end(waiting)
            seen = host.operator.see(waiting)
            assert (seen["restarts"], before["restarts"]) == (0, 0)
            assert "Traceback" not in host.log.read_text()


def test_containers_outlive_the_state_folder(
    calm_plane: Plane, daemon: OwnDaemon, hub: HubServer, tmp_path: Path
) -> None:
    with worker(tmp_path, calm_plane, daemon, hub, "forgetful") as host:
        deployment_id = host.deploy()
        host.operator.reach(deployment_id, "running")
        before = only(daemon)
        for delete_first in (True, False):
            if delete_first:
                delete(tmp_path / "forgetful")
                assert host.process.wait(PATIENCE) == 1, "it cannot go on without"
            else:
                host.kill()
                delete(tmp_path / "forgetful")
            session = calm_plane.worker("forgetful")["session"]
            host.start()
            eventually(lambda: calm_plane.worker("forgetful")["session"], lambda seen: seen > session, "it is back")  # noqa: B023
            after = only(daemon)
            assert (after.id, after.attrs["State"]["StartedAt"]) == (before.id, before.attrs["State"]["StartedAt"])
        host.end(deployment_id)
        assert containers(daemon) == []
