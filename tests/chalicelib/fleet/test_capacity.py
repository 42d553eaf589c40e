"""The free capacity in a worker's record follows from the record's inputs, whoever changes them."""

from __future__ import annotations

import msgspec
import pytest

from chalicelib.auth import tokens
from chalicelib.fleet import capacity, workers
from chalicelib.store.items import find
from chalicelib.store.tables import WorkerHeartbeat, WorkerRecord
from chalicelib.workers import admin
from muster.api import resources as r
from tests.fixtures.database import Killed
from tests.fixtures.plane_world import ADMIN, PlaneWorld, Worker

SILENT = 200


def shown(worker: Worker) -> tuple[str, list[int]] | None:
    """How many GPUs the index shows, with the name, and which; None of a worker that is not in it."""
    found = [row for row in WorkerRecord.free_index.query(capacity.OPEN) if row.worker_id == worker.id]
    return (str(found[0].room), msgspec.json.decode(found[0].free, type=capacity.Free).gpus) if found else None


def is_current(worker: Worker) -> bool:
    return capacity.is_current(workers.get(worker.id))


def test_a_worker_that_joins_is_shown_with_its_free_gpus(world: PlaneWorld) -> None:
    assert shown(world.worker("one", gpus=2)) == ("00002#one", [0, 1])
    assert shown(world.worker("none", gpus=0)) == ("00000#none", [])


def test_a_deployment_takes_gpus_and_gives_them_back(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    deployment_id = world.deploy(gpus=1)
    assert shown(worker) == ("00001#gpu-1", [1])
    worker.run(deployment_id)
    world.stop(deployment_id)
    worker.report(deployment_id, "stopped")
    assert shown(worker) == ("00002#gpu-1", [0, 1])


def test_no_heartbeat_writes_what_the_index_has(world: PlaneWorld) -> None:
    """A heartbeat costs one write; one that wrote the index would cost two."""
    worker = world.worker()
    worker.beat()
    with world.database.counting() as calls:
        for _ in range(3):
            world.pass_(30)
            worker.beat()
    assert {request["TableName"] for operation, request in calls if operation == "UpdateItem"} == {
        WorkerHeartbeat.Meta.table_name
    }


def test_a_lost_gpu_and_a_gpu_in_use_by_an_unknown_instance_are_not_free(world: PlaneWorld) -> None:
    worker = world.worker(gpus=3)
    devices = [{"index": 0, "lost": True}, {"index": 1}, {"index": 2}]
    worker.beat(gpu_info={"count": 3, "devices": devices}, orphans=[{"deployment_id": "unknown", "gpus": [1]}])
    assert shown(worker) == ("00001#gpu-1", [2])
    worker.register()
    assert is_current(worker)


def test_mig_devices_are_told_apart(world: PlaneWorld) -> None:
    devices = [{"index": 0, "uuid": "GPU-1"}, {"index": 1, "uuid": "MIG-1"}]
    worker = world.worker(gpu_info={"count": 2, "devices": devices})
    record = find(WorkerRecord, worker.id, "cold")
    assert record is not None
    assert msgspec.json.decode(record.free, type=capacity.Free) == capacity.Free([0, 1], [1])


def test_an_operators_drain_takes_the_worker_out_and_its_end_puts_it_back(world: PlaneWorld) -> None:
    worker = world.worker()
    admin.patch(worker.id, r.WorkerPatch(draining=True), ADMIN, world.now)
    assert shown(worker) is None
    admin.patch(worker.id, r.WorkerPatch(draining=False, labels={"a": "b"}), ADMIN, world.now)
    assert shown(worker) == ("00002#gpu-1", [0, 1])


def test_a_worker_that_drains_itself_is_out_until_it_ends_that(world: PlaneWorld) -> None:
    worker = world.worker()
    worker.beat(status="draining")
    assert shown(worker) is None
    worker.beat()
    assert shown(worker) == ("00002#gpu-1", [0, 1])


def test_the_sweep_takes_a_silent_worker_out_and_its_heartbeat_puts_it_back(world: PlaneWorld) -> None:
    worker = world.worker()
    world.pass_(SILENT)
    world.sweep()
    assert shown(worker) is None
    world.deploy(worker_id=worker.id, gpus=1)
    assert shown(worker) is None, "what is pinned to it changes its claims, and not that it is silent"
    worker.beat()
    assert shown(worker) == ("00001#gpu-1", [1])
    assert is_current(worker)


@pytest.mark.parametrize("calls", range(10))
def test_a_heartbeat_in_the_middle_of_the_sweep_keeps_its_worker_in(world: PlaneWorld, calls: int) -> None:
    worker = world.worker()
    world.pass_(SILENT)
    with world.database.overtaken_after(calls, worker.beat):
        world.sweep()
    worker.beat()
    assert shown(worker) == ("00002#gpu-1", [0, 1])
    assert is_current(worker)


@pytest.mark.parametrize("calls", range(14))
def test_a_return_that_is_cut_off_anywhere_is_completed_by_the_next_heartbeat(world: PlaneWorld, calls: int) -> None:
    worker = world.worker()
    world.pass_(SILENT)
    world.sweep()
    try:
        with world.database.killed_after(calls):
            worker.beat()
    except Killed:
        assert is_current(worker), "both items change together"
    worker.beat()
    assert shown(worker) == ("00002#gpu-1", [0, 1])


@pytest.mark.parametrize("calls", range(14))
def test_a_deploy_in_the_middle_of_a_return_leaves_the_index_right(world: PlaneWorld, calls: int) -> None:
    worker = world.worker()
    world.pass_(SILENT)
    world.sweep()
    with world.database.overtaken_after(calls, lambda: world.deploy(gpus=1, worker_id=worker.id)):
        worker.beat()
        world.database.overtake = None
    worker.beat()
    assert is_current(worker)


@pytest.mark.parametrize("calls", range(16))
def test_a_deploy_in_the_middle_of_a_registration_leaves_the_index_right(world: PlaneWorld, calls: int) -> None:
    worker = world.worker(gpus=1, machine_id="m", boot_id="b1")
    devices = [{"index": 0}, {"index": 1}]
    with world.database.overtaken_after(calls, lambda: world.deploy(gpus=1)):
        worker.register(gpu_info={"count": 2, "devices": devices}, boot_id="b2")
        world.database.overtake = None
    assert is_current(worker)


@pytest.mark.parametrize("calls", range(8))
def test_a_deploy_in_the_middle_of_a_patch_leaves_the_index_right(world: PlaneWorld, calls: int) -> None:
    worker = world.worker(gpus=2)
    with world.database.overtaken_after(calls, lambda: world.deploy(gpus=1)):
        admin.patch(worker.id, r.WorkerPatch(draining=True), ADMIN, world.now)
        world.database.overtake = None
    assert shown(worker) is None
    admin.patch(worker.id, r.WorkerPatch(draining=False), ADMIN, world.now)
    assert is_current(worker)


def test_a_takeover_leaves_the_index_right(world: PlaneWorld) -> None:
    worker = world.worker(gpus=1)
    world.deploy(gpus=1)
    world.pass_(SILENT)
    world.sweep()
    token = tokens.create_token(r.NewRegistrationToken(takeover=True), ADMIN, world.now).token
    taken = world.worker(gpus=4, token=str(token), machine_id="another")
    assert taken.id == worker.id and is_current(worker)
    taken.beat()
    assert shown(worker) == ("00004#gpu-1", [0, 1, 2, 3])


def test_what_was_removed_is_not_shown(world: PlaneWorld) -> None:
    worker = world.worker()
    admin.remove(worker.id, True, ADMIN.label, world.now)
    assert shown(worker) is None


def test_what_changed_since_it_was_read_is_not_corrected(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    record = find(WorkerRecord, worker.id, "cold")
    assert record is not None
    record.update(actions=[WorkerRecord.open.remove(), WorkerRecord.room.remove(), WorkerRecord.free.remove()])
    read = workers.get(worker.id)
    assert not capacity.is_current(read)
    world.deploy(gpus=1, worker_id=worker.id)
    assert not capacity.correct(read)
    assert shown(worker) == ("00001#gpu-1", [1]), "the deployment's claim wrote all of it"
    assert capacity.correct(workers.get(worker.id))
