"""Which deployment holds which GPU: claims are given, confirmed and let go, and nothing is reserved for ever."""

from __future__ import annotations

import pytest

from chalicelib.deployments import intents
from chalicelib.scheduling import gpu_claims
from chalicelib.store import slots
from chalicelib.store.items import find
from chalicelib.store.tables import Cold, Deployment, Slot
from chalicelib.workers import admin
from muster.api import resources as r
from tests.fixtures.plane_world import ADMIN, PlaneWorld, lines


def held(world: PlaneWorld, worker_id: str) -> dict[str, str]:
    """Device index to deployment."""
    return admin.get(worker_id, world.now).gpu_claims


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
    assert admin.get(worker.id, world.now).gpu_claims == {"0": second}


def test_what_a_newer_generation_was_given_is_not_taken_by_a_report_that_came_before_it(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    deployment_id = world.deploy(gpus=[0])
    worker.run(deployment_id)
    slot, reported = slots.get(worker.id, deployment_id), intents.load(deployment_id)
    intents.patch(deployment_id, r.DeploymentPatch(gpus=[1]), ADMIN, world.now)
    both = {"0": deployment_id, "1": deployment_id}
    assert slot is not None and admin.get(worker.id, world.now).gpu_claims == both
    gpu_claims.confirm(slot, reported, world.now)
    assert admin.get(worker.id, world.now).gpu_claims == both


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


def test_nothing_is_released_while_a_slot_holds_it(world: PlaneWorld) -> None:
    worker = world.worker(gpus=1)
    deployment_id = world.deploy()
    gpu_claims.release(worker.id, deployment_id)
    assert held(world, worker.id) == {"0": deployment_id}


def test_what_a_slot_lets_go_of_is_released_and_others_keep_theirs(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    first, second = world.deploy(), world.deploy()
    slot = slots.get(worker.id, first)
    assert slot is not None
    slot.holds = False
    slot.save()
    for _ in range(2):
        gpu_claims.release(worker.id, first)
        assert held(world, worker.id) == {"1": second}


def test_a_release_on_a_worker_that_is_none_is_no_error(world: PlaneWorld) -> None:
    deployment_id = world.deploy()
    gpu_claims.release("nobody", deployment_id)
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
    gpu_claims.confirm(slot, intents.load(deployment_id), world.now)
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
    gpu_claims.place_waiting(world.now, on=worker.id if on_the_worker_alone else None)
    assert [world.see(each).worker_id for each in (first, second)] == [worker.id, None]


def test_the_timeline_has_the_first_reason_to_wait_alone(world: PlaneWorld) -> None:
    deployment_id = world.deploy()
    assert world.see(deployment_id).message == "waiting for a place: no worker has joined yet"
    world.worker("small", gpus=0)
    world.sweep()
    assert world.see(deployment_id).message == "waiting for a place: small: 0 of 0 GPUs free, 1 needed"
    told = [(line.type, line.message) for line in lines(world, deployment_id)]
    assert [type_ for type_, _ in told] == ["created", "waiting"]
    assert told[1][1] == "waiting for a place: no worker has joined yet"


def test_a_place_that_somebody_else_took_meanwhile_is_looked_for_again(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    first, second = world.deploy(gpus=3), world.deploy(gpus=3)
    for each in (first, second):
        found = find(Deployment, each)
        assert found is not None
        spec = gpu_claims.spec_of(found)
        spec.gpus = 1
        found.update(actions=[Deployment.spec.set(intents._encode(spec))])
    database = world.database
    with database.counting() as calls, database.overtaken_after(3, lambda: gpu_claims.place(second, world.now)):
        gpu_claims.place(first, world.now)
        assert database.overtake is None
    assert held(world, worker.id) == {"0": second, "1": first}
    changes = [operation for operation, _ in calls].count("TransactWriteItems")
    assert changes == 3, "the second one's, the first one's that was refused, and the first one's on the device left"


# Races: another function comes in between


def slot_of(worker_id: str, deployment_id: str) -> Slot:
    slot = slots.get(worker_id, deployment_id)
    assert slot is not None
    return slot


def let_go(worker_id: str, deployment_id: str) -> Slot:
    """As a function leaves it that was killed before it could release."""
    slot = slot_of(worker_id, deployment_id)
    slot.holds = False
    slot.save()
    return slot


def hold_again(worker_id: str, deployment_id: str) -> None:
    slot_of(worker_id, deployment_id).update(actions=[Slot.holds.set(True)])


@pytest.mark.parametrize("calls", range(3))
def test_a_release_that_a_start_overtakes_takes_nothing_away(world: PlaneWorld, calls: int) -> None:
    worker = world.worker(gpus=1)
    deployment_id = world.deploy()
    let_go(worker.id, deployment_id)
    with world.database.overtaken_after(calls, lambda: hold_again(worker.id, deployment_id)):
        gpu_claims.release(worker.id, deployment_id)
        assert world.database.overtake is None
    assert held(world, worker.id) == {"0": deployment_id}


@pytest.mark.parametrize("calls", range(3))
def test_a_release_that_another_change_of_the_claims_overtakes_is_repeated(world: PlaneWorld, calls: int) -> None:
    worker = world.worker(gpus=2)
    first = world.deploy()
    let_go(worker.id, first)
    both, cold = f'{{"0":"{first}","1":"another"}}', find(Cold, worker.id, "cold")
    assert cold is not None
    with world.database.overtaken_after(calls, lambda: cold.update(actions=[Cold.claims.set(both)])):
        gpu_claims.release(worker.id, first)
        assert world.database.overtake is None
    assert held(world, worker.id) == {"1": "another"}


@pytest.mark.parametrize("calls", range(3))
def test_a_confirmation_that_a_deploy_overtakes_is_repeated(world: PlaneWorld, calls: int) -> None:
    worker = world.worker(gpus=2)
    first = world.deploy(gpus=[0])
    slot, deployment = let_go(worker.id, first), intents.load(first)
    gpu_claims.release(worker.id, first)
    made: list[str] = []
    with world.database.overtaken_after(calls, lambda: made.append(world.deploy(name="second", gpus=[1]))):
        gpu_claims.confirm(slot, deployment, world.now)
    assert held(world, worker.id) == {"0": first, "1": made[0]}


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
    cold, other = find(Cold, worker.id, "cold"), find(Deployment, second)
    assert cold is not None and other is not None
    cold.update(actions=[Cold.claims.set(f'{{"0":"{first}"}}')])
    spec = gpu_claims.spec_of(other)
    spec.gpus = 1
    other.update(actions=[Deployment.spec.set(intents._encode(spec))])
    with world.database.overtaken_after(calls, lambda: world.start(first)):
        gpu_claims.place(second, world.now)
    holders = [each for each in (first, second) if (slot := slots.get(worker.id, each)) and slot.holds]
    assert holders == list(held(world, worker.id).values())
    assert len(holders) == 1


# What runs holds its devices


def test_what_runs_holds_its_devices_although_its_slot_let_go(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    deployment_id = world.deploy(gpus=2)
    slot = let_go(worker.id, deployment_id)
    gpu_claims.release(worker.id, deployment_id)
    assert held(world, worker.id) == {}
    gpu_claims.confirm(slot, intents.load(deployment_id), world.now)
    assert held(world, worker.id) == {"0": deployment_id, "1": deployment_id}
    assert slot_of(worker.id, deployment_id).holds


def test_a_device_that_a_new_instance_no_longer_needs_goes_to_what_waits(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    worker.journal_id = "j"
    first = world.deploy(gpus=[0])
    worker.run(first)
    intents.patch(first, r.DeploymentPatch(gpus=[1]), ADMIN, world.now)
    second = world.deploy(name="second")
    assert held(world, worker.id) == {"0": first, "1": first}, "the old instance may use the first one still"
    worker.beat()
    worker.report(first, "running", generation=world.see(first).generation)
    assert held(world, worker.id) == {"0": second, "1": first}


def test_claims_that_are_right_already_cost_no_write(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    first, second = world.deploy(), world.deploy()
    let_go(worker.id, first)
    gpu_claims.release(worker.id, first)
    with world.database.counting() as calls:
        gpu_claims.release(worker.id, first)
        gpu_claims.confirm(slot_of(worker.id, second), intents.load(second), world.now)
    assert {operation for operation, _ in calls} <= {"GetItem", "BatchGetItem"}


def test_a_worker_that_was_removed_meanwhile_has_no_claims(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    slot, deployment, cold = slot_of(worker.id, deployment_id), intents.load(deployment_id), Cold(worker.id, "cold")
    cold.delete()
    gpu_claims.confirm(slot, deployment, world.now)
    assert find(Cold, worker.id, "cold") is None


def test_a_claim_whose_slot_is_gone_is_released(world: PlaneWorld) -> None:
    worker = world.worker(gpus=1)
    deployment_id = world.deploy()
    slot_of(worker.id, deployment_id).delete()
    gpu_claims.release(worker.id, deployment_id)
    assert held(world, worker.id) == {}


# Placing


def test_a_deployment_has_devices_on_its_own_worker_alone(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    deployment = intents.load(world.deploy(gpus=[1]))
    assert gpu_claims.indexes(deployment) == gpu_claims.indexes(deployment, worker.id) == [1]
    assert gpu_claims.indexes(deployment, "another") == []


def test_only_what_waits_is_placed(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    deployment_id = world.deploy()
    before = world.see(deployment_id)
    gpu_claims.place(deployment_id, world.now)
    gpu_claims.place("deleted-meanwhile", world.now)
    assert world.see(deployment_id) == before
    assert held(world, worker.id) == {"0": deployment_id}


@pytest.mark.parametrize(("gpus", "where"), [(2, "on gpu-1, GPU 0, 1"), (0, "on gpu-1")])
def test_the_timeline_has_the_place_that_a_deployment_got(world: PlaneWorld, gpus: int, where: str) -> None:
    world.worker(gpus=2)
    told = [(line.type, line.message) for line in lines(world, world.deploy(gpus=gpus))]
    assert told[1:] == [("placed", where)]


def test_a_change_stays_on_its_worker_although_another_fits_more_tightly(world: PlaneWorld) -> None:
    """Its weights are there."""
    home = world.worker("home", gpus=4)
    deployment_id = world.deploy(gpus=1)
    home.run(deployment_id)
    world.worker("tight", gpus=2)
    intents.patch(deployment_id, r.DeploymentPatch(gpus=2), ADMIN, world.now)
    assert world.see(deployment_id).worker_id == home.id


def test_a_change_goes_elsewhere_while_its_worker_is_offline(world: PlaneWorld) -> None:
    home = world.worker("home", gpus=4)
    deployment_id = world.deploy(gpus=1)
    home.run(deployment_id)
    world.pass_(200)
    other = world.worker("other", gpus=2)
    intents.patch(deployment_id, r.DeploymentPatch(gpus=2), ADMIN, world.now)
    assert world.see(deployment_id).worker_id == other.id


def test_each_placement_of_several_is_one_write_that_holds(world: PlaneWorld) -> None:
    """The next one is placed on what the one before left."""
    waiting = [world.deploy(gpus=1) for _ in range(3)]
    worker = world.worker(gpus=0)
    cold = find(Cold, worker.id, "cold")
    assert cold is not None
    cold.update(actions=[Cold.gpu_info.set('{"count":3,"devices":[]}')])
    with world.database.counting() as calls:
        gpu_claims.place_waiting(world.now)
    assert sorted(held(world, worker.id).values()) == sorted(waiting)
    assert [operation for operation, _ in calls].count("TransactWriteItems") == len(waiting)


def test_what_an_operator_asks_for_is_placed_on_the_fleet_as_it_is_now(world: PlaneWorld) -> None:
    """The sweep reads the fleet at half the price, since it comes again."""
    deployment_id = world.deploy(gpus=1)
    with world.database.counting() as calls:
        gpu_claims.place(deployment_id, world.now)
        gpu_claims.place_waiting(world.now)
    scans = [bool(request.get("ConsistentRead")) for operation, request in calls if operation == "Scan"]
    assert scans == [True, True, False, False]


def test_the_reasons_of_twenty_workers_are_enough(world: PlaneWorld) -> None:
    for number in range(21):
        world.worker(f"small-{number:02}", gpus=0)
    message = world.see(world.deploy()).message or ""
    assert message.count("GPUs free") == 20
