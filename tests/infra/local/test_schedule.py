"""What is done each minute, and what is not where the clock of the machine was set."""

from __future__ import annotations

import pytest

from chalicelib.fleet.workers import ONLINE_WINDOW
from chalicelib.store.tables import WorkerHeartbeat
from chalicelib.workers import liveness
from infra.local.schedule import CLOCK_STEP_SECONDS, SETTLE_SECONDS, SWEEP_SECONDS, Minute
from tests.fixtures.agent_world import DAY, Clock
from tests.fixtures.database import Recorder
from tests.fixtures.plane_world import PlaneWorld


class Server:
    """A server's minutes in virtual time."""

    def __init__(self) -> None:
        self.clock, self.done, self.put_back = Clock(1_800_000_000.0), list[float](), list[float]()
        self.minute = Minute([self.done.append], self.put_back.append, self.clock, self.clock.monotonic)

    def settle(self) -> None:
        """The minutes after a start, or a step."""
        for _ in range(int(SETTLE_SECONDS / SWEEP_SECONDS)):
            self.clock.pass_time(SWEEP_SECONDS)
            self.minute.turn()
        self.done.clear()


@pytest.fixture
def server() -> Server:
    server = Server()
    server.settle()
    return server


def test_every_minute_each_task_gets_epoch_seconds(server: Server) -> None:
    for _ in range(3):
        server.clock.pass_time(SWEEP_SECONDS)
        server.minute.turn()
    assert server.done == [server.clock.now - 2 * SWEEP_SECONDS, server.clock.now - SWEEP_SECONDS, server.clock.now]


@pytest.mark.parametrize("step", [DAY, -DAY, CLOCK_STEP_SECONDS + 1, -CLOCK_STEP_SECONDS - 1])
def test_after_a_step_of_the_clock_nothing_is_done_until_everybody_was_heard(server: Server, step: float) -> None:
    server.clock.step(step)
    for _ in range(int(SETTLE_SECONDS / SWEEP_SECONDS)):
        server.clock.pass_time(SWEEP_SECONDS)
        server.minute.turn()
    assert server.done == []
    server.clock.pass_time(SWEEP_SECONDS)
    server.minute.turn()
    assert server.done == [server.clock.now]
    assert len(server.put_back) == (step < 0)


def test_a_suspended_machine_heard_nobody(server: Server) -> None:
    server.clock.suspend(DAY)
    server.clock.pass_time(SWEEP_SECONDS)
    server.minute.turn()
    assert server.done == []


def test_a_clock_that_is_slewed_was_not_set(server: Server) -> None:
    for _ in range(100):
        server.clock.pass_time(SWEEP_SECONDS)
        server.clock.step(-CLOCK_STEP_SECONDS / 2)
        server.minute.turn()
    assert len(server.done) == 100


def test_a_server_that_was_stopped_heard_nobody_meanwhile() -> None:
    server = Server()
    server.clock.pass_time(SETTLE_SECONDS - 1)
    server.minute.turn()
    assert server.done == []


def test_a_task_that_fails_costs_the_others_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail(now: float) -> None:
        raise OSError("the disk is gone")

    clock, done = Clock(), list[float]()
    minute = Minute([fail, done.append], fail, clock, clock.monotonic)
    clock.pass_time(SETTLE_SECONDS)
    minute.turn()
    assert done == [clock.now]
    assert "the disk is gone" in caplog.text


@pytest.mark.parametrize("step", [DAY, 3 * DAY, -DAY])
def test_no_worker_and_no_model_is_lost_by_a_step_of_the_servers_clock(database: Recorder, step: float) -> None:
    """Two workers: of so small a fleet no share that falls silent is suspicious."""
    world = PlaneWorld(database)
    clock = Clock(world.now)
    minute = Minute([liveness.expire], liveness.clock_was_put_back, clock, clock.monotonic)
    workers = [world.worker(name) for name in ("one", "two")]
    ids = [world.deploy(worker_id=worker.id) for worker in workers]
    for worker, deployment_id in zip(workers, ids, strict=True):
        worker.run(deployment_id)
    for number in range(40):
        if number == 10:
            clock.step(step)
        clock.pass_time(SWEEP_SECONDS)
        world.now = clock.now
        minute.turn()
        for worker in workers:
            worker.beat()
        assert [world.see(each).status for each in ids] == ["running", "running"]
        assert not any(each.down_since for each in WorkerHeartbeat.scan())


def test_a_dead_worker_is_offline_although_the_clock_was_put_back(database: Recorder) -> None:
    world = PlaneWorld(database)
    clock = Clock(world.now)
    minute = Minute([liveness.expire], liveness.clock_was_put_back, clock, clock.monotonic)
    worker = world.worker()
    clock.step(-DAY)
    for _ in range(int((SETTLE_SECONDS + ONLINE_WINDOW) / SWEEP_SECONDS) + 1):
        clock.pass_time(SWEEP_SECONDS)
        minute.turn()
    assert WorkerHeartbeat.get(worker.id).down_since is not None
