"""A place is reserved in one transaction, once the worker that the deployment leaves has stopped it."""

from __future__ import annotations

import pytest

from chalicelib.deployments import intents
from chalicelib.fleet import capacity
from chalicelib.scheduling import gpu_claims, scheduler
from chalicelib.store import slots
from chalicelib.store.items import find
from chalicelib.store.tables import Deployment, WorkerRecord
from muster.api import resources as r
from tests.fixtures.plane_world import ADMIN, PlaneWorld


def test_one_that_moves_waits_until_its_old_container_is_gone(world: PlaneWorld) -> None:
    here, there = world.worker("here"), world.worker("there")
    deployment_id = world.deploy(worker_id=here.id)
    here.run(deployment_id)
    intents.patch(deployment_id, r.DeploymentPatch(worker_id=there.id), ADMIN, world.now)
    assert there.types() == []
    assert world.see(deployment_id).message == "waiting until here has stopped it"
    assert here.types() == ["stop"]
    here.report(deployment_id, "stopped")
    here.active = []
    assert there.types() == ["deploy"]
    assert here.types() == []


def test_a_lost_worker_does_not_hold_up_a_move(world: PlaneWorld) -> None:
    here, there = world.worker("here"), world.worker("there")
    deployment_id = world.deploy(worker_id=here.id)
    here.run(deployment_id)
    world.pass_(200)
    there.beat()
    intents.patch(deployment_id, r.DeploymentPatch(worker_id=there.id), ADMIN, world.now)
    assert there.types() == ["deploy"]
    assert here.types() == ["stop"], "a stop is never dropped, however long the worker was away"


@pytest.mark.parametrize("calls", range(8))
def test_of_a_start_and_a_deploy_for_one_device_one_has_it(world: PlaneWorld, calls: int) -> None:
    """The claim of the stopped one is still there, and reads the same when its start renews it."""
    worker = world.worker(gpus=1)
    first = world.deploy()
    worker.run(first)
    world.stop(first)
    worker.beat()
    second = world.deploy(gpus=2)
    worker.report(first, "stopped")
    record, other = find(WorkerRecord, worker.id, "cold"), find(Deployment, second)
    assert record is not None and other is not None
    record.update(actions=[WorkerRecord.claims.set(f'{{"0":"{first}"}}')])
    spec = gpu_claims.spec_of(other)
    spec.gpus = 1
    other.update(actions=[Deployment.spec.set(intents._encode(spec))])
    with world.database.overtaken_after(calls, lambda: world.start(first)):
        scheduler.place(second, world.now)
    holders = [
        deployment_id
        for deployment_id in (first, second)
        if (slot := slots.get(worker.id, deployment_id)) and slot.holds_gpus
    ]
    assert holders == list(world.claims(worker.id).values())
    assert len(holders) == 1


def test_each_placement_of_several_is_one_write_that_holds(world: PlaneWorld) -> None:
    """The next one is placed on what the one before left."""
    waiting = [world.deploy(gpus=1) for _ in range(3)]
    worker = world.worker(gpus=0)
    record = find(WorkerRecord, worker.id, "cold")
    assert record is not None
    record.update(actions=capacity.changed(record, gpu_info='{"count":3,"devices":[]}'))
    with world.database.counting() as calls:
        scheduler.sweep(world.now)
    assert sorted(world.claims(worker.id).values()) == sorted(waiting)
    assert [operation for operation, _ in calls].count("TransactWriteItems") == len(waiting)
