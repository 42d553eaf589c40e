"""Deployments that wait are placed in their order, with a reason for those that find no place."""

from __future__ import annotations

import pytest

from chalicelib.deployments import intents
from chalicelib.scheduling import gpu_claims, scheduler
from chalicelib.store.items import find
from chalicelib.store.tables import Deployment, WorkerRecord
from muster.api import resources as r
from tests.fixtures.plane_world import ADMIN, PlaneWorld, lines


def test_a_deployment_waits_with_its_reason_and_gets_the_device_that_frees(world: PlaneWorld) -> None:
    worker = world.worker(gpus=1)
    first, second = world.deploy(name="first"), world.deploy(name="second")
    worker.run(first)
    waiting = world.see(second)
    assert (waiting.status, waiting.worker_id) == ("pending", None)
    assert waiting.message == "waiting for a place: gpu-1: 0 of 1 GPUs free, 1 needed"
    world.stop(first)
    worker.report(first, "stopped")
    assert world.see(second).worker_id == worker.id
    assert world.claims(worker.id) == {"0": second}


def test_only_what_waits_is_placed(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    deployment_id = world.deploy()
    before = world.see(deployment_id)
    scheduler.place(deployment_id, world.now)
    scheduler.place("deleted-meanwhile", world.now)
    assert world.see(deployment_id) == before
    assert world.claims(worker.id) == {"0": deployment_id}


@pytest.mark.parametrize("on_the_worker_alone", [True, False])
def test_what_waits_is_placed_in_the_order_in_which_it_was_made(world: PlaneWorld, on_the_worker_alone: bool) -> None:
    first = world.deploy(gpus=1)
    world.pass_(1)
    second = world.deploy(gpus=1)
    worker = world.worker(gpus=0)
    record = find(WorkerRecord, worker.id, "cold")
    assert record is not None
    record.update(actions=[WorkerRecord.gpu_info.set('{"count":1,"devices":[]}')])
    if on_the_worker_alone:
        scheduler.place_waiting(world.now, on=worker.id)
    else:
        scheduler.sweep(world.now)
    assert [world.see(deployment_id).worker_id for deployment_id in (first, second)] == [worker.id, None]


def test_a_device_that_a_new_instance_no_longer_needs_goes_to_what_waits(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    worker.journal_id = "j"
    first = world.deploy(gpus=[0])
    worker.run(first)
    intents.patch(first, r.DeploymentPatch(gpus=[1]), ADMIN, world.now)
    second = world.deploy(name="second")
    assert world.claims(worker.id) == {"0": first, "1": first}, "the old instance may use the first one still"
    worker.beat()
    worker.report(first, "running", generation=world.see(first).generation)
    assert world.claims(worker.id) == {"0": second, "1": first}


def test_a_place_that_somebody_else_took_meanwhile_is_looked_for_again(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    first, second = world.deploy(gpus=3), world.deploy(gpus=3)
    for deployment_id in (first, second):
        found = find(Deployment, deployment_id)
        assert found is not None
        spec = gpu_claims.spec_of(found)
        spec.gpus = 1
        found.update(actions=[Deployment.spec.set(intents._encode(spec))])
    database = world.database
    with database.counting() as calls, database.overtaken_after(4, lambda: scheduler.place(second, world.now)):
        scheduler.place(first, world.now)
        assert database.overtake is None
    assert world.claims(worker.id) == {"0": second, "1": first}
    changes = [operation for operation, _ in calls].count("TransactWriteItems")
    assert changes == 3, "the second one's, the first one's that was refused, and the first one's on the device left"


def test_what_an_operator_asks_for_is_placed_on_the_fleet_as_it_is_now(world: PlaneWorld) -> None:
    """The sweep reads the fleet at half the price, since it comes again."""
    deployment_id = world.deploy(gpus=1)
    with world.database.counting() as calls:
        scheduler.place(deployment_id, world.now)
        scheduler.sweep(world.now)
    scans = [bool(request.get("ConsistentRead")) for operation, request in calls if operation == "Scan"]
    assert scans == [True, True, False, False]


@pytest.mark.parametrize(("gpus", "where"), [(2, "on gpu-1, GPU 0, 1"), (0, "on gpu-1")])
def test_the_timeline_has_the_place_that_a_deployment_got(world: PlaneWorld, gpus: int, where: str) -> None:
    world.worker(gpus=2)
    told = [(line.type, line.message) for line in lines(world, world.deploy(gpus=gpus))]
    assert told[1:] == [("placed", where)]


def test_the_timeline_has_the_first_reason_to_wait_alone(world: PlaneWorld) -> None:
    deployment_id = world.deploy()
    assert world.see(deployment_id).message == "waiting for a place: no worker has joined yet"
    world.worker("small", gpus=0)
    world.sweep()
    assert world.see(deployment_id).message == "waiting for a place: small: 0 of 0 GPUs free, 1 needed"
    told = [(line.type, line.message) for line in lines(world, deployment_id)]
    assert [type_ for type_, _ in told] == ["created", "waiting"]
    assert told[1][1] == "waiting for a place: no worker has joined yet"


def test_the_reasons_of_twenty_workers_are_enough(world: PlaneWorld) -> None:
    for number in range(21):
        world.worker(f"small-{number:02}", gpus=0)
    message = world.see(world.deploy()).message or ""
    assert message.count("GPUs free") == 20
