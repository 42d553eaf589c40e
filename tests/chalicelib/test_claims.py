"""Which deployment holds which GPU: claims are given, confirmed and let go, and nothing is reserved for ever."""

from __future__ import annotations

import pytest

from chalicelib import claims, deployments, slots, workers
from chalicelib.contract import resources as r
from chalicelib.store import find
from chalicelib.tables import Cold, Deployment
from tests.fixtures.plane_world import ADMIN, PlaneWorld, lines


def held(world: PlaneWorld, worker_id: str) -> dict[str, str]:
    """Device index to deployment."""
    return workers.get(worker_id, world.now).gpu_claims


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
    assert workers.get(worker.id, world.now).gpu_claims == {"0": second}


def test_what_a_newer_generation_was_given_is_not_taken_by_a_report_that_came_before_it(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    deployment_id = world.deploy(gpus=[0])
    worker.run(deployment_id)
    slot, reported = slots.get(worker.id, deployment_id), deployments.load(deployment_id)
    deployments.patch(deployment_id, r.DeploymentPatch(gpus=[1]), ADMIN, world.now)
    both = {"0": deployment_id, "1": deployment_id}
    assert slot is not None and workers.get(worker.id, world.now).gpu_claims == both
    claims.confirm(slot, reported, world.now)
    assert workers.get(worker.id, world.now).gpu_claims == both


def test_one_that_moves_waits_until_its_old_container_is_gone(world: PlaneWorld) -> None:
    here, there = world.worker("here"), world.worker("there")
    deployment_id = world.deploy(worker_id=here.id)
    here.run(deployment_id)
    deployments.patch(deployment_id, r.DeploymentPatch(worker_id=there.id), ADMIN, world.now)
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
    deployments.patch(deployment_id, r.DeploymentPatch(worker_id=there.id), ADMIN, world.now)
    assert there.types() == ["deploy"]
    assert here.types() == ["stop"], "a stop is never dropped, however long the worker was away"


def test_nothing_is_released_while_a_slot_holds_it(world: PlaneWorld) -> None:
    worker = world.worker(gpus=1)
    deployment_id = world.deploy()
    claims.release(worker.id, deployment_id)
    assert held(world, worker.id) == {"0": deployment_id}


def test_what_a_slot_lets_go_of_is_released_and_others_keep_theirs(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    first, second = world.deploy(), world.deploy()
    slot = slots.get(worker.id, first)
    assert slot is not None
    slot.holds = False
    slot.save()
    for _ in range(2):
        claims.release(worker.id, first)
        assert held(world, worker.id) == {"1": second}


def test_a_release_on_a_worker_that_is_none_is_no_error(world: PlaneWorld) -> None:
    deployment_id = world.deploy()
    claims.release("nobody", deployment_id)
    assert find(Cold, "nobody", "cold") is None


def test_a_claim_whose_slot_is_gone_holds_nothing_back(world: PlaneWorld) -> None:
    worker = world.worker(gpus=1)
    cold = find(Cold, worker.id, "cold")
    assert cold is not None
    cold.update(actions=[Cold.claims.set('{"0":"left-behind"}')])
    deployment_id = world.deploy()
    assert held(world, worker.id) == {"0": deployment_id}


def test_confirming_takes_back_a_device_only_where_nobody_was_given_it_meanwhile(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    deployment_id = world.deploy(gpus=[0, 1])
    slot, cold = slots.get(worker.id, deployment_id), find(Cold, worker.id, "cold")
    assert slot is not None and cold is not None
    cold.update(actions=[Cold.claims.set('{"1":"another"}')])
    claims.confirm(slot, deployments.load(deployment_id), world.now)
    assert held(world, worker.id) == {"0": deployment_id, "1": "another"}


@pytest.mark.parametrize("on_the_worker_alone", [True, False])
def test_what_waits_is_placed_in_the_order_in_which_it_was_made(world: PlaneWorld, on_the_worker_alone: bool) -> None:
    first = world.deploy(gpus=1)
    world.pass_(1)
    second = world.deploy(gpus=1)
    worker = world.worker(gpus=0)
    cold = find(Cold, worker.id, "cold")
    assert cold is not None
    cold.update(actions=[Cold.gpu_info.set('{"count":1,"devices":[]}')])
    claims.place_waiting(world.now, on=worker.id if on_the_worker_alone else None)
    assert [world.see(each).worker_id for each in (first, second)] == [worker.id, None]


def test_the_timeline_has_the_first_reason_to_wait_alone(world: PlaneWorld) -> None:
    deployment_id = world.deploy()
    assert world.see(deployment_id).message == "waiting for a place: no worker has joined yet"
    world.worker("small", gpus=0)
    world.sweep()
    assert world.see(deployment_id).message == "waiting for a place: small: 0 of 0 GPUs free, 1 needed"
    assert [line.type for line in lines(world, deployment_id)] == ["created", "waiting"]


def test_a_place_that_somebody_else_took_meanwhile_is_looked_for_again(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    first, second = world.deploy(gpus=3), world.deploy(gpus=3)
    for each in (first, second):
        found = find(Deployment, each)
        assert found is not None
        spec = claims.spec_of(found)
        spec.gpus = 1
        found.update(actions=[Deployment.spec.set(deployments._encode(spec))])
    database = world.database
    with database.counting() as calls, database.overtaken_after(3, lambda: claims.place(second, world.now)):
        claims.place(first, world.now)
        assert database.overtake is None
    assert held(world, worker.id) == {"0": second, "1": first}
    changes = [operation for operation, _ in calls].count("TransactWriteItems")
    assert changes == 3, "the second one's, the first one's that was refused, and the first one's on the device left"
