"""The whole fleet at once: what is in it, what is not, and what it is read with."""

from __future__ import annotations

from collections import Counter

from chalicelib.deployments import intents
from chalicelib.fleet import scan
from chalicelib.scheduling import gpu_claims
from chalicelib.workers import admin
from tests.fixtures.plane_world import ADMIN, PlaneWorld


def test_every_worker_is_there_and_those_that_were_removed_are_not(world: PlaneWorld) -> None:
    here, away, gone = (world.worker(name) for name in ("here", "away", "gone"))
    away.beat(status="offline")
    admin.remove(gone.id, False, "an admin", world.now)
    found = scan.workers()
    assert found.keys() == {here.id, away.id}
    assert {each.record.name for each in found.values()} == {"here", "away"}
    assert [found[each.id].online(world.now) for each in (here, away)] == [True, False]


def test_candidates_are_read_with_what_placement_asks_of_them_and_no_more(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2, labels={"rack": "1"})
    with world.database.counting() as calls:
        found = scan.candidates(consistent=True)
    machine = found[worker.id]
    assert (machine.online(world.now), machine.draining(), machine.labels) == (True, False, {"rack": "1"})
    assert (machine.devices, machine.claims, machine.record.name) == ((0, 1), {}, "gpu-1")
    assert machine.record.system_info is None and machine.heartbeat.digest is None
    assert [call["ConsistentRead"] for operation, call in calls if operation == "Scan"] == [True, True]


def test_a_name_is_no_worker(world: PlaneWorld) -> None:
    worker = world.worker()
    worker.beat(active_deployments=["an-orphan"])
    assert list(scan.workers()) == list(scan.candidates(consistent=False)) == [worker.id]


def test_deployments_are_in_the_order_in_which_they_were_made(world: PlaneWorld) -> None:
    made = []
    for name in ("c", "a", "b"):
        world.pass_(1)
        made.append(world.deploy(name=name))
    intents.stop(made[1], ADMIN, world.now)
    intents.delete(made[1], ADMIN, world.now)
    assert [each.deployment_id for each in scan.deployments()] == [made[0], made[2]]


def test_slots_that_hold_gpus_are_those_of_what_may_use_them(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    holding, over, _ = world.deploy(), world.deploy(), world.deploy(gpus=2)
    world.stop(over)
    world.ask(worker, "list_models")
    assert [slot.deployment_id for slot in scan.holding()] == [holding]
    gpu_claims.release(worker.id, holding)
    assert admin.get(worker.id, world.now).gpu_claims == {"0": holding}


def test_open_operations_are_those_that_no_worker_has_answered(world: PlaneWorld) -> None:
    assert scan.open_operations() == []
    worker = world.worker()
    asked = [world.ask(worker, "pull_image", image=f"a:{n}") for n in range(3)]
    worker.beat()
    worker.result(asked[1], "failed", error_code="X")
    assert {each.operation_id for each in scan.open_operations()} == {asked[0], asked[2]}


def test_a_census_costs_pages_whatever_is_in_the_history(world: PlaneWorld) -> None:
    worker = world.worker()
    for _ in range(5):
        operation_id = world.ask(worker, "list_models")
        worker.beat()
        worker.result(operation_id, output={"models": []})
    with world.database.counting() as calls:
        scan.workers()
        scan.deployments()
        scan.open_operations()
    assert Counter(operation for operation, _ in calls) == {"Scan": 4}
