"""The wall clocks of a real agent and of a real control plane are set by a day while models run: nothing happens."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.agent_process import Operator, ProcessHost
from tests.fixtures.agent_world import DAY
from tests.fixtures.serve import Serve
from tests.fixtures.stepped_clock import step, stepped
from tests.fixtures.waiting import eventually


class Clocked(ProcessHost):
    def command(self) -> list[str]:
        return stepped(super().command(), self.folder / "clock")


class ClockedServe(Serve):
    def command(self) -> list[str]:
        return stepped(super().command(), self.clock)

    @property
    def clock(self) -> Path:
        return self.data.with_suffix(".clock")


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ClockedServe]:
    with ClockedServe(tmp_path / "data", MUSTER_HEARTBEAT="1") as serve:
        yield serve


@pytest.fixture
def worker(tmp_path: Path, plane: ClockedServe) -> Iterator[Clocked]:
    folder = tmp_path / "host"
    folder.mkdir()
    host = Clocked(folder, plane.url)
    host.start()
    try:
        yield host
    finally:
        host.end()


def only_worker(operator: Operator) -> Any:
    (found,) = operator.call("GET", "/api/workers")["workers"] or [None]
    return found


def heartbeats(operator: Operator, count: int = 3) -> None:
    """Wait until the worker sent some more, and is online."""
    for _ in range(count):
        before = only_worker(operator)["last_seen"]
        eventually(lambda: only_worker(operator)["last_seen"], lambda seen: seen != before, "a heartbeat")  # noqa: B023
    eventually(lambda: only_worker(operator)["status"], lambda status: status == "online", "it is online")


def restarts_within_the_backoff(operator: Operator, worker: Clocked, deployment_id: str, killed: int) -> Any:
    """A model that dies is started again after ten seconds, whatever the time of day."""
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: operator.see(deployment_id)["restarts"], bool, "its death is noticed")
    eventually(worker.models, lambda pids: len(pids) == 2 and killed not in pids, "another process")
    return operator.reach(deployment_id, "running")


@pytest.mark.parametrize("seconds", [DAY, -DAY])
def test_a_step_of_a_hosts_clock_ends_no_model_and_makes_nothing_wait(
    plane: ClockedServe, worker: Clocked, seconds: float
) -> None:
    operator = Operator(plane.url)
    eventually(lambda: operator.call("GET", "/api/workers")["workers"], bool, "it joined")
    kept = operator.deploy()
    before = operator.reach(kept, "running")
    kept_pids = worker.models()
    mortal = operator.deploy()
    operator.reach(mortal, "running")
    (victim,) = set(worker.models()) - set(kept_pids)

    step(worker.folder / "clock", seconds)
    heartbeats(operator)
    restarts_within_the_backoff(operator, worker, mortal, victim)
    step(worker.folder / "clock", 0)
    heartbeats(operator)

    after = operator.see(kept)
    assert (after["status"], after["restarts"], after["container_id"]) == ("running", 0, before["container_id"])
    assert set(kept_pids) <= set(worker.models())
    step(worker.folder / "clock", -seconds)
    operator.reach(operator.deploy(), "running")
    operator.call("POST", f"/api/deployments/{kept}/stop")
    operator.reach(kept, "stopped")


@pytest.mark.parametrize("seconds", [DAY, -DAY])
def test_a_step_of_the_control_planes_clock_loses_no_worker_and_no_model(
    plane: ClockedServe, worker: Clocked, seconds: float
) -> None:
    operator = Operator(plane.url)
    eventually(lambda: operator.call("GET", "/api/workers")["workers"], bool, "it joined")
    kept = operator.deploy()
    before = operator.reach(kept, "running")
    pids = worker.models()

    for off in (seconds, 0.0):
        step(plane.clock, off)
        heartbeats(operator)
        after = operator.see(kept)
        assert (after["status"], after["reachable"], after["container_id"]) == ("running", True, before["container_id"])
        assert worker.models() == pids
        more = operator.deploy()
        operator.reach(more, "running")
        operator.call("POST", f"/api/deployments/{more}/stop")
        operator.reach(more, "stopped")
        asked = operator.call("GET", f"/api/workers/{only_worker(operator)['worker_id']}/containers?wait=25")
        assert before["container_id"] in [each["id"] for each in asked["containers"]], "an operation is answered"
        eventually(worker.models, lambda running: running == pids, "the other one is gone")
