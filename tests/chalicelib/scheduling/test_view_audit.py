"""The whole fleet is read seldom, and what the index does not show is found by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from unittest import mock

import pytest

from chalicelib.fleet import capacity, workers
from chalicelib.scheduling import view_audit
from chalicelib.store.items import find
from chalicelib.store.tables import CapacityView, WorkerRecord
from tests.fixtures.plane_world import PlaneWorld, Worker

PAUSE = 300.0


@pytest.fixture
def large_fleets() -> Iterator[None]:
    with (
        mock.patch.object(view_audit, "SMALL_FLEET", -1),
        mock.patch.object(view_audit, "SECONDS_FOR_EACH_WORKER", PAUSE),
    ):
        yield


def sweep(world: PlaneWorld) -> Counter[str]:
    """The tables that the sweep scanned."""
    with world.database.counting() as calls:
        world.sweep()
    return Counter(request["TableName"] for operation, request in calls if operation == "Scan")


def claim(worker: Worker, holder: str) -> None:
    record = find(WorkerRecord, worker.id, "cold")
    assert record is not None
    record.update(actions=capacity.changed(record, claims=f'{{"0":"{holder}"}}'))


def of_an_older_release(worker: Worker) -> None:
    record = find(WorkerRecord, worker.id, "cold")
    assert record is not None
    record.update(actions=[WorkerRecord.open.remove(), WorkerRecord.room.remove(), WorkerRecord.free.remove()])


RECORDS = WorkerRecord.Meta.table_name


def test_the_first_sweep_completes_the_index_and_the_next_reads_no_records(world: PlaneWorld) -> None:
    worker = world.worker()
    of_an_older_release(worker)
    assert sweep(world)[RECORDS] == 1
    assert capacity.is_current(workers.get(worker.id))
    assert sweep(world)[RECORDS] == 0


def test_a_worker_that_an_older_release_recorded_as_offline_is_not_shown(world: PlaneWorld) -> None:
    worker = world.worker()
    world.pass_(200)
    world.sweep()
    record = find(WorkerRecord, worker.id, "cold")
    assert record is not None
    record.update(actions=[WorkerRecord.down.remove()])
    CapacityView.get(CapacityView.KEY, "capacity").delete()
    world.sweep()
    assert list(WorkerRecord.free_index.query(capacity.OPEN)) == []
    worker.beat()
    assert capacity.is_current(workers.get(worker.id))


def test_what_is_too_much_for_one_sweep_is_continued_by_the_next(world: PlaneWorld) -> None:
    fleet = [world.worker(f"gpu-{number}") for number in range(5)]
    for worker in fleet:
        of_an_older_release(worker)
    with mock.patch.object(view_audit, "MAX_CORRECTIONS", 2):
        world.sweep()
        assert view_audit.last() is None, "nobody relies on the index yet"
        world.sweep()
        world.sweep()
    assert view_audit.last() is not None
    assert all(capacity.is_current(workers.get(worker.id)) for worker in fleet)


@pytest.mark.parametrize("calls", range(8))
def test_a_worker_that_changes_while_the_index_is_completed_is_right(world: PlaneWorld, calls: int) -> None:
    worker = world.worker(gpus=1)
    of_an_older_release(worker)
    with world.database.overtaken_after(calls + 8, lambda: world.deploy(gpus=1)):
        world.sweep()
    assert capacity.is_current(workers.get(worker.id))


@pytest.mark.usefixtures("large_fleets")
def test_a_claim_that_outlived_its_slot_is_found_by_a_sweep_once_the_pause_is_over(world: PlaneWorld) -> None:
    """Nothing is reserved for ever, and a deployment that fits does not wait for ever."""
    worker = world.worker(gpus=1)
    world.sweep()
    claim(worker, "gone")
    deployment_id = world.deploy(gpus=1)
    assert world.see(deployment_id).message == "waiting for a place: gpu-1: 0 of 1 GPUs free, 1 needed"
    world.pass_(PAUSE - 60)
    worker.beat()
    assert sweep(world)[RECORDS] == 0
    assert world.see(deployment_id).worker_id is None
    world.pass_(60)
    worker.beat()
    assert sweep(world)[RECORDS] == 1
    assert world.see(deployment_id).worker_id == worker.id


@pytest.mark.usefixtures("large_fleets")
def test_while_nothing_fits_the_fleet_is_read_once_in_a_pause(world: PlaneWorld) -> None:
    worker = world.worker(gpus=1)
    world.sweep()
    waiting = world.deploy(gpus=2)
    read = 0
    for _ in range(30):
        world.pass_(60)
        worker.beat()
        read += sweep(world)[RECORDS]
    assert read == 30 * 60 / PAUSE
    assert world.see(waiting).message == "waiting for a place: gpu-1: 1 of 1 GPUs free, 2 needed"


def test_a_small_fleet_is_read_whenever_the_index_shows_no_place(world: PlaneWorld) -> None:
    worker = world.worker(gpus=1)
    world.sweep()
    claim(worker, "gone")
    assert world.see(world.deploy(gpus=1)).worker_id == worker.id


def test_a_pinned_deployment_beside_others_has_its_own_reason(world: PlaneWorld) -> None:
    here = world.worker("here", gpus=1)
    world.worker("there", gpus=1)
    world.sweep()
    pinned, any_ = world.deploy(gpus=2, worker_id=here.id), world.deploy(gpus=2)
    world.sweep()
    assert world.see(pinned).message == "waiting for a place: here: 1 of 1 GPUs free, 2 needed"
    assert (world.see(any_).message or "").endswith("there: 1 of 1 GPUs free, 2 needed")


def test_the_pause_grows_with_the_fleet_to_ten_minutes() -> None:
    pauses = [view_audit.pause(CapacityView(workers=size, compared_at=0)) for size in (0, 1_500, 9_000, 100_000)]
    assert pauses == [0, 100, 600, 600]


def test_a_clock_that_was_put_back_ends_the_pause() -> None:
    view = CapacityView(workers=9_000, compared_at=1_000.0)
    assert [view_audit.is_due(view, now) for now in (999.0, 1_000.0, 1_599.0, 1_600.0)] == [True, False, False, True]
