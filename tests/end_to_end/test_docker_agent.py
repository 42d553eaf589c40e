"""Agents on a real Docker engine, and what may happen to a host: each of them, and the daemon, may be killed."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from docker.models.containers import Container

from tests.fixtures.docker_agent import IMAGE, DockerHost, answers, containers, docker_host, nothing_is_left, only
from tests.fixtures.docker_daemon import OwnDaemon
from tests.fixtures.hub_server import HubServer
from tests.fixtures.ports import free_port
from tests.fixtures.serve import Serve
from tests.fixtures.waiting import eventually

pytestmark = pytest.mark.docker


@pytest.fixture
def host(tmp_path: Path, serve: Serve, daemon: OwnDaemon, hub: HubServer) -> Iterator[DockerHost]:
    with docker_host(tmp_path, serve, daemon, hub) as host:
        yield host


def test_adoption_after_a_kill(daemon: OwnDaemon, host: DockerHost) -> None:
    deployment_id = host.deploy()
    host.operator.reach(deployment_id, "running")
    before = only(daemon)
    host.kill()
    host.start()
    eventually(lambda: host.log.read_text().count("registered"), lambda count: count >= 2, "registered again")
    after = only(daemon)
    assert (after.id, after.attrs["State"]["StartedAt"]) == (before.id, before.attrs["State"]["StartedAt"])
    assert host.operator.see(deployment_id)["restarts"] == 0
    host.end(deployment_id)
    assert containers(daemon) == []


def test_a_graceful_stop_leaves_the_model_running(daemon: OwnDaemon, host: DockerHost) -> None:
    deployment_id = host.deploy()
    host.operator.reach(deployment_id, "running")
    before = only(daemon)
    assert host.stop() == 0
    assert (only(daemon).id, only(daemon).status) == (before.id, "running")
    host.start()
    host.end(deployment_id)
    assert containers(daemon) == []


def test_after_a_restart_of_the_daemon_models_run_again_and_have_not_crashed(
    daemon: OwnDaemon, host: DockerHost
) -> None:
    deployment_id = host.deploy(restart="never")
    host.operator.reach(deployment_id, "running")
    before = only(daemon).id
    for end in (daemon.stop, daemon.kill):
        end()
        daemon.start()
        eventually(lambda: [each.id for each in containers(daemon)], lambda ids: ids not in ([], [before]), "a new one")  # noqa: B023
        seen = host.operator.reach(deployment_id, "running")
        assert (seen["restarts"], seen["last_crash"]) == (0, None)
        before = only(daemon).id


def test_after_a_reboot_models_run_again_without_the_control_plane(
    daemon: OwnDaemon, host: DockerHost, serve: Serve
) -> None:
    deployment_id = host.deploy(restart="never")
    seen = host.operator.reach(deployment_id, "running")
    before = only(daemon).id
    serve.kill()
    host.kill()
    daemon.kill()
    host.start()
    daemon.start()
    eventually(lambda: answers(seen), bool, "the model answers, and nobody told the agent to start it")
    assert only(daemon).id != before
    serve.start()
    seen = host.operator.reach(deployment_id, "running")
    assert (seen["restarts"], seen["last_crash"], answers(seen)) == (0, None, True)


def test_two_agents_leave_each_other_and_strangers_alone(
    daemon: OwnDaemon, host: DockerHost, serve: Serve, hub: HubServer, tmp_path: Path
) -> None:
    with docker_host(tmp_path, serve, daemon, hub) as other:
        mine, others = host.deploy(), other.deploy()
        for each in (mine, others):
            assert answers(host.operator.reach(each, "running"))
        stranger = daemon.client.containers.create(IMAGE, ["--model", "x"], name=f"muster-{mine}-g7")
        host.end(mine)
        host.call("POST", "/storage/prune", {"images": True, "containers": True, "volumes": True})
        left = {str(each.name): each.status for each in containers(daemon)}
        assert left.pop(str(stranger.name)) == "created"
        assert [(name.startswith(f"muster-{others}-g"), status) for name, status in left.items()] == [(True, "running")]
        shown = {each["id"]: each["ours"] for each in host.call("GET", "/containers")["containers"]}
        assert set(shown.values()) == {False} and len(shown) == 2
        host.kill()
        host.start()
        assert answers(other.operator.see(others))


def test_what_is_renamed_is_kept_and_what_is_removed_starts_again(daemon: OwnDaemon, host: DockerHost) -> None:
    deployment_id = host.deploy()
    host.operator.reach(deployment_id, "running")
    before = only(daemon)
    before.rename("renamed-by-hand")
    eventually(host.log.read_text, lambda log: "was renamed to renamed-by-hand" in log, "noticed")
    assert only(daemon).id == before.id
    before.remove(force=True)
    seen = eventually(lambda: host.operator.see(deployment_id), lambda seen: seen["restarts"] == 1, "noticed")
    assert seen["last_crash"]["error_code"] == "CONTAINER_FAILED"
    assert "removed" in seen["last_crash"]["message"]
    host.operator.reach(deployment_id, "running")
    assert str(only(daemon).name).startswith(f"muster-{deployment_id}-g")


def send(number: signal.Signals, container: Container) -> None:
    """To its model, which Docker's init started. Docker is not told."""
    (model,) = psutil.Process(container.attrs["State"]["Pid"]).children()
    model.send_signal(number)


def test_a_model_that_hangs_is_put_down(daemon: OwnDaemon, host: DockerHost) -> None:
    deployment_id = host.deploy(restart="never")
    host.operator.reach(deployment_id, "running")
    send(signal.SIGSTOP, only(daemon))
    seen = host.operator.reach(deployment_id, "error")
    assert seen["error_code"] == "CONTAINER_FAILED"
    assert "/health" in seen["message"]
    assert "stand-in" in seen["last_crash"]["logs"]
    nothing_is_left(daemon)


def test_a_crash_while_it_serves_starts_again_with_its_reason(daemon: OwnDaemon, host: DockerHost) -> None:
    """As vLLM does when one of its processes is killed: the exit code is 0."""
    deployment_id = host.deploy()
    host.operator.reach(deployment_id, "running")
    before = only(daemon)
    send(signal.SIGTERM, before)
    seen = eventually(lambda: host.operator.see(deployment_id), lambda seen: seen["restarts"] > 0, "it crashed")
    assert (seen["restarts"], seen["last_crash"]["error_code"]) == (1, "CONTAINER_FAILED")
    assert "exit code 0" in seen["last_crash"]["message"]
    assert answers(host.operator.reach(deployment_id, "running"))
    assert only(daemon).id != before.id
    assert host.operator.see(deployment_id)["restarts"] == 1


def test_a_failed_start_leaves_nothing(daemon: OwnDaemon, host: DockerHost) -> None:
    """It has no program to run. What Docker does not remove at once is removed at the agent's next look."""
    daemon.client.api.import_image_from_data(b"\0" * 1024, "muster-standin", "broken")
    deployment_id = host.deploy(image="muster-standin:broken", restart="never")
    host.operator.reach(deployment_id, "error")
    nothing_is_left(daemon)


def test_what_is_in_the_way_is_told_at_once_and_nothing_is_pulled(daemon: OwnDaemon, host: DockerHost) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        body = {"image": "muster-standin:absent", "model": "org/gated", "config": {"port": port}}
        seen = host.operator.reach(host.deploy(**body), "error")
    assert seen["error_code"] == "MODEL_GATED"
    for told in ("2 things are in the way", "MODEL_GATED: org/gated is gated, and there is no token", "PORT_IN_USE: "):
        assert told in seen["message"]
    license = host.deploy(model="org/gated", env={"HF_TOKEN": "good"}, image="muster-standin:absent")
    assert "license" in host.operator.reach(license, "error")["message"]
    missing = host.deploy(model="org/none", image="muster-standin:absent")
    assert host.operator.reach(missing, "error")["error_code"] == "MODEL_NOT_FOUND"
    assert containers(daemon) == []
    assert "Pulling" not in host.log.read_text()
