"""Which deployment holds which GPU: claims are confirmed and released, and nothing is reserved for ever."""

from __future__ import annotations

import pytest

from chalicelib.deployments import intents
from chalicelib.scheduling import gpu_claims
from chalicelib.store import slots
from chalicelib.store.items import find
from chalicelib.store.tables import Slot, WorkerRecord
from muster.api import resources as r
from tests.fixtures.plane_world import ADMIN, PlaneWorld


def slot_of(worker_id: str, deployment_id: str) -> Slot:
    slot = slots.get(worker_id, deployment_id)
    assert slot is not None
    return slot


def let_go(worker_id: str, deployment_id: str) -> Slot:
    """As a function leaves it that was killed before it could release."""
    slot = slot_of(worker_id, deployment_id)
    slot.holds_gpus = False
    slot.save()
    return slot


def hold_again(worker_id: str, deployment_id: str) -> None:
    slot_of(worker_id, deployment_id).update(actions=[Slot.holds_gpus.set(True)])


def test_a_deployment_has_devices_on_its_own_worker_alone(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    deployment = intents.load(world.deploy(gpus=[1]))
    assert gpu_claims.indexes(deployment) == gpu_claims.indexes(deployment, worker.id) == [1]
    assert gpu_claims.indexes(deployment, "another") == []


# Releasing


def test_nothing_is_released_while_a_slot_holds_it(world: PlaneWorld) -> None:
    worker = world.worker(gpus=1)
    deployment_id = world.deploy()
    gpu_claims.release(worker.id, deployment_id)
    assert world.claims(worker.id) == {"0": deployment_id}


def test_what_a_slot_lets_go_of_is_released_and_others_keep_theirs(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    first, second = world.deploy(), world.deploy()
    slot = slots.get(worker.id, first)
    assert slot is not None
    slot.holds_gpus = False
    slot.save()
    for _ in range(2):
        gpu_claims.release(worker.id, first)
        assert world.claims(worker.id) == {"1": second}


def test_a_release_on_a_worker_that_is_none_is_no_error(world: PlaneWorld) -> None:
    deployment_id = world.deploy()
    gpu_claims.release("nobody", deployment_id)
    assert find(WorkerRecord, "nobody", "cold") is None


def test_a_claim_whose_slot_is_gone_is_released(world: PlaneWorld) -> None:
    worker = world.worker(gpus=1)
    deployment_id = world.deploy()
    slot_of(worker.id, deployment_id).delete()
    gpu_claims.release(worker.id, deployment_id)
    assert world.claims(worker.id) == {}


@pytest.mark.parametrize("calls", range(3))
def test_a_release_that_a_start_overtakes_takes_nothing_away(world: PlaneWorld, calls: int) -> None:
    worker = world.worker(gpus=1)
    deployment_id = world.deploy()
    let_go(worker.id, deployment_id)
    with world.database.overtaken_after(calls, lambda: hold_again(worker.id, deployment_id)):
        gpu_claims.release(worker.id, deployment_id)
        assert world.database.overtake is None
    assert world.claims(worker.id) == {"0": deployment_id}


@pytest.mark.parametrize("calls", range(3))
def test_a_release_that_another_change_of_the_claims_overtakes_is_repeated(world: PlaneWorld, calls: int) -> None:
    worker = world.worker(gpus=2)
    first = world.deploy()
    let_go(worker.id, first)
    both, record = f'{{"0":"{first}","1":"another"}}', find(WorkerRecord, worker.id, "cold")
    assert record is not None
    with world.database.overtaken_after(calls, lambda: record.update(actions=[WorkerRecord.claims.set(both)])):
        gpu_claims.release(worker.id, first)
        assert world.database.overtake is None
    assert world.claims(worker.id) == {"1": "another"}


# Confirming


def test_what_runs_holds_its_devices_although_its_slot_let_go(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    deployment_id = world.deploy(gpus=2)
    slot = let_go(worker.id, deployment_id)
    gpu_claims.release(worker.id, deployment_id)
    assert world.claims(worker.id) == {}
    gpu_claims.confirm(slot, intents.load(deployment_id))
    assert world.claims(worker.id) == {"0": deployment_id, "1": deployment_id}
    assert slot_of(worker.id, deployment_id).holds_gpus


def test_confirming_takes_back_a_device_only_where_nobody_was_given_it_meanwhile(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    deployment_id = world.deploy(gpus=[0, 1])
    slot, record = slots.get(worker.id, deployment_id), find(WorkerRecord, worker.id, "cold")
    assert slot is not None and record is not None
    record.update(actions=[WorkerRecord.claims.set('{"1":"another"}')])
    gpu_claims.confirm(slot, intents.load(deployment_id))
    assert world.claims(worker.id) == {"0": deployment_id, "1": "another"}


def test_what_a_newer_generation_was_given_is_not_taken_by_a_report_that_came_before_it(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    deployment_id = world.deploy(gpus=[0])
    worker.run(deployment_id)
    slot, reported = slots.get(worker.id, deployment_id), intents.load(deployment_id)
    intents.patch(deployment_id, r.DeploymentPatch(gpus=[1]), ADMIN, world.now)
    both = {"0": deployment_id, "1": deployment_id}
    assert slot is not None and world.claims(worker.id) == both
    gpu_claims.confirm(slot, reported)
    assert world.claims(worker.id) == both


@pytest.mark.parametrize("calls", range(3))
def test_a_confirmation_that_a_deploy_overtakes_is_repeated(world: PlaneWorld, calls: int) -> None:
    worker = world.worker(gpus=2)
    first = world.deploy(gpus=[0])
    slot, deployment = let_go(worker.id, first), intents.load(first)
    gpu_claims.release(worker.id, first)
    made: list[str] = []
    with world.database.overtaken_after(calls, lambda: made.append(world.deploy(name="second", gpus=[1]))):
        gpu_claims.confirm(slot, deployment)
    assert world.claims(worker.id) == {"0": first, "1": made[0]}


def test_a_worker_that_was_removed_meanwhile_has_no_claims(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    slot, deployment, record = (
        slot_of(worker.id, deployment_id),
        intents.load(deployment_id),
        WorkerRecord(worker.id, "cold"),
    )
    record.delete()
    gpu_claims.confirm(slot, deployment)
    assert find(WorkerRecord, worker.id, "cold") is None


def test_claims_that_are_right_already_cost_no_write(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    first, second = world.deploy(), world.deploy()
    let_go(worker.id, first)
    gpu_claims.release(worker.id, first)
    with world.database.counting() as calls:
        gpu_claims.release(worker.id, first)
        gpu_claims.confirm(slot_of(worker.id, second), intents.load(second))
    assert {operation for operation, _ in calls} <= {"GetItem", "BatchGetItem"}


def test_confirming_returns_whether_it_freed_a_device(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    deployment_id = world.deploy(gpus=[0])
    slot, record = slot_of(worker.id, deployment_id), find(WorkerRecord, worker.id, "cold")
    assert record is not None
    record.update(actions=[WorkerRecord.claims.set(f'{{"0":"{deployment_id}","1":"{deployment_id}"}}')])
    assert gpu_claims.confirm(slot, intents.load(deployment_id))
    assert world.claims(worker.id) == {"0": deployment_id}
    assert not gpu_claims.confirm(slot, intents.load(deployment_id))
