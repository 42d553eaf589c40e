"""The fleet in memory is the fleet in the database, and what did not change is not read again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.deployments import intents
from chalicelib.fleet import scan
from chalicelib.store.tables import Deployment, WorkerRecord
from chalicelib.telemetry import fleet_reader
from chalicelib.telemetry.fleet_reader import Fleet, FleetReader
from chalicelib.workers import admin
from muster.api import resources as r
from tests.fixtures.plane_world import ADMIN, PlaneWorld, Worker

GONE = [{"type": "GpuLost", "message": "GPU 1 fell off the bus"}]


def seen(fleet: Fleet) -> Any:
    """All that a reader may notice, in a form that can be compared."""
    workers = {
        worker_id: (
            worker.record.name,
            worker.labels,
            worker.record.draining,
            worker.record.agent_version,
            worker.claims,
            worker.heartbeat.last_seen,
            [held.message for held in fleet.held.get(worker_id, [])],
        )
        for worker_id, worker in fleet.workers.items()
    }
    deployments = [
        (i, deployment.status, deployment.desired, deployment.worker_id, deployment.progress, deployment.restarts)
        for i, deployment in fleet.deployments.items()
    ]
    return workers, deployments


def anew(world: PlaneWorld) -> Any:
    return seen(FleetReader().read(world.now))


def joins(world: PlaneWorld, worker: Worker) -> None:
    world.worker("another")


def runs(world: PlaneWorld, worker: Worker) -> None:
    worker.run(world.deploy(gpus=1))


def progresses(world: PlaneWorld, worker: Worker) -> None:
    progress = {"phase": "downloading", "current": 5, "total": 10, "percent": 50.0}
    [waiting] = [str(d.deployment_id) for d in scan.deployments() if d.name == "waiting"]
    worker.report(waiting, "downloading", progress=progress)


def labels(world: PlaneWorld, worker: Worker) -> None:
    admin.patch(worker.id, r.WorkerPatch(labels={"rack": "9"}, draining=True), ADMIN, world.now)


def is_conditioned(world: PlaneWorld, worker: Worker) -> None:
    worker.beat(conditions=GONE)


def is_removed(world: PlaneWorld, worker: Worker) -> None:
    admin.remove(worker.id, True, "key admin", world.now)


def stops_and_goes(world: PlaneWorld, worker: Worker) -> None:
    [running] = [str(d.deployment_id) for d in scan.deployments() if d.name == "running"]
    world.stop(running)
    worker.beat()
    worker.report(running, "stopped")
    intents.delete(running, ADMIN, world.now)


def beats(world: PlaneWorld, worker: Worker) -> None:
    worker.beat()


CHANGES = [joins, runs, progresses, labels, is_conditioned, is_removed, stops_and_goes, beats]


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_is_known_at_the_next_read(
    world: PlaneWorld, change: Callable[[PlaneWorld, Worker], None]
) -> None:
    worker = world.worker("gpu-1", gpus=4)
    worker.run(world.deploy(name="running", gpus=1))
    world.deploy(name="waiting", gpus=1)
    worker.beat()
    reader = FleetReader()
    before = seen(reader.read(world.now))
    world.pass_(7)
    change(world, worker)
    after = seen(reader.read(world.now))
    assert after != before and after == anew(world)
    world.pass_(7)
    assert seen(reader.read(world.now)) == anew(world)


def test_an_idle_fleet_is_its_heartbeats_and_the_end_of_its_timeline(world: PlaneWorld) -> None:
    for number in range(5):
        worker = world.worker(f"gpu-{number}")
        worker.run(world.deploy(gpus=1, worker_id=worker.id))
    reader = FleetReader()
    reader.read(world.now)
    world.pass_(30)
    with world.database.counting() as calls:
        reader.read(world.now)
    asked = Counter((operation, call["TableName"].removeprefix("muster-")) for operation, call in calls)
    assert asked == {("Query", "events"): 4, ("Scan", "heartbeats"): 1}


def test_a_condition_is_read_once_while_it_stays(world: PlaneWorld) -> None:
    worker = world.worker()
    worker.beat(conditions=GONE)
    reader = FleetReader()
    reader.read(world.now)
    world.pass_(30)
    worker.beat(conditions=GONE)
    with world.database.counting() as calls:
        found = reader.read(world.now)
    assert [held.type for held in found.held[worker.id]] == ["GpuLost"]
    assert "BatchGetItem" not in {operation for operation, _ in calls}
    worker.beat(conditions=[])
    assert reader.read(world.now).held[worker.id] == []


def test_what_has_no_line_is_known_after_five_minutes_and_not_before(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy(gpus=1)
    worker.run(deployment_id)
    reader = FleetReader()
    reader.read(world.now)
    WorkerRecord(worker.id, "cold").update(actions=[WorkerRecord.agent_version.set("9")])
    Deployment(deployment_id).update(actions=[Deployment.restarts.set(7)])
    world.pass_(fleet_reader.FULL_SECONDS - 1)
    early = reader.read(world.now)
    assert early.workers[worker.id].record.agent_version != "9" and early.deployments[deployment_id].restarts == 0
    world.pass_(1)
    late = reader.read(world.now)
    assert late.workers[worker.id].record.agent_version == "9" and late.deployments[deployment_id].restarts == 7


def test_after_more_lines_than_it_follows_it_reads_everything(
    world: PlaneWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_reader, "MAX_LINES", 3)
    reader = FleetReader()
    reader.read(world.now)
    for number in range(3):
        world.worker(f"gpu-{number}")
    assert len(reader.read(world.now).workers) == 3
    assert seen(reader.read(world.now)) == anew(world)


def test_where_the_clock_was_put_back_it_reads_everything(world: PlaneWorld) -> None:
    worker = world.worker()
    reader = FleetReader()
    reader.read(world.now)
    WorkerRecord(worker.id, "cold").update(actions=[WorkerRecord.agent_version.set("9")])
    assert reader.read(world.now - 1).workers[worker.id].record.agent_version == "9"


@pytest.mark.parametrize("change", [joins, runs, progresses, labels, is_removed, stops_and_goes])
def test_what_changed_is_known_without_reading_heartbeats(
    world: PlaneWorld, change: Callable[[PlaneWorld, Worker], None]
) -> None:
    worker = world.worker("gpu-1", gpus=4)
    worker.run(world.deploy(name="running", gpus=1))
    world.deploy(name="waiting", gpus=1)
    worker.beat()
    reader = FleetReader()
    before = reader.read(world.now)
    world.pass_(7)
    change(world, worker)
    with world.database.counting() as calls:
        after = reader.read(world.now, heartbeats_for=30.0)
    assert "Scan" not in {operation for operation, _ in calls} and after.heartbeats_at == before.heartbeats_at

    def without_times(found: Any) -> Any:
        workers, deployments = found
        return {i: (*worker[:5], worker[6]) for i, worker in workers.items()}, deployments

    assert without_times(seen(after)) == without_times(anew(world)) != without_times(seen(before))


def test_heartbeats_are_read_again_when_they_are_too_old(world: PlaneWorld) -> None:
    worker = world.worker()
    reader = FleetReader()
    first = reader.read(world.now)
    world.pass_(20)
    worker.beat()
    assert reader.read(world.now, heartbeats_for=30.0).workers is first.workers, "nothing has a line"
    world.pass_(10)
    third = reader.read(world.now, heartbeats_for=30.0)
    assert third.heartbeats_at == world.now
    assert third.workers[worker.id].heartbeat.last_seen == world.now - 10
    world.pass_(-1)
    assert reader.read(world.now, heartbeats_for=30.0).heartbeats_at == world.now, "the clock was put back"
