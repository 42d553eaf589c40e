"""A heartbeat settles what the worker shows that it has, and is sent the rest: nothing is left to chance."""

from __future__ import annotations

from contextlib import suppress

import pytest

from chalicelib.auth import tokens
from chalicelib.deployments import intents
from chalicelib.fleet import workers
from chalicelib.operations import queue
from chalicelib.store import slots
from chalicelib.store.items import find
from chalicelib.store.tables import Deployment, Operation, Slot, WorkerHeartbeat, WorkerRecord
from chalicelib.workers import admin
from muster.api import messages as m
from muster.api import resources as r
from tests.fixtures.database import Killed
from tests.fixtures.plane_world import ADMIN, PlaneWorld, Worker
from tests.fixtures.reconciling import agent, cut_off, run, slot_of, tell


def test_a_deleted_deployments_stop_stays_until_absence_is_shown(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    worker.beat()
    worker.report(deployment_id, "error", error_code="CONTAINER_FAILED")
    intents.delete(deployment_id, ADMIN, world.now)
    assert worker.types() in ([], ["stop"])
    sent = [each for _ in range(12) for each in worker.types()]
    assert "stop" in sent
    worker.active = []
    assert [worker.types() for _ in range(12)] == [[]] * 12


def test_devices_of_a_killed_release_are_given_again(world: PlaneWorld) -> None:
    """A function died between storing `stopped` and freeing the devices: the next look or placement heals it."""
    worker = world.worker(gpus=1)
    worker.journal_id = "j"
    first = world.deploy()
    worker.beat()
    generation = world.see(first).generation
    worker.report(first, "running", generation=generation, session=worker.answer.session, sequence=1)
    for kill_after in range(1, 12):
        with world.database.killed_after(kill_after), suppress(Killed):
            worker.report(first, "stopped", generation=generation, session=worker.answer.session, sequence=2)
        if world.see(first).status == "stopped":
            break
    second = world.deploy("org/other")
    for _ in range(10):
        worker.beat()
    world.sweep()
    assert world.see(second).worker_id == worker.id


def test_a_function_killed_anywhere_loses_no_deploy(world: PlaneWorld) -> None:
    """Cut `create` off after each of its calls: what was recorded reaches the worker without anybody asking again."""
    worker = world.worker(gpus=64)
    for kill_after in range(40):
        with world.database.killed_after(kill_after), suppress(Killed):
            world.deploy(gpus=0, name=f"d{kill_after}")
    recorded = {str(each.deployment_id) for each in Deployment.scan(Deployment.kind == "deployment")}
    world.sweep()
    delivered: set[str] = set()
    for _ in range(11):
        delivered |= {c.deployment_id for c in worker.beat().commands if hasattr(c, "deployment_id")}
    assert len(recorded) > 10
    assert delivered == recorded


def test_a_stop_left_behind_and_the_deploy_that_comes_back_are_two_generations(world: PlaneWorld) -> None:
    """The worker drains while a start wants to leave it, and then has room again: one is not taken for the other."""
    worker = world.worker()
    worker.journal_id = "j"
    deployment_id = world.deploy()
    worker.beat()
    session = worker.answer.session
    worker.report(deployment_id, "running", generation=world.see(deployment_id).generation, session=session, sequence=1)
    worker.active = [deployment_id]
    world.stop(deployment_id)
    worker.beat()
    worker.report(deployment_id, "stopped", generation=world.see(deployment_id).generation, session=session, sequence=2)
    admin.patch(worker.id, r.WorkerPatch(draining=True), ADMIN, world.now)
    world.start(deployment_id)
    (stop,) = worker.beat().commands
    admin.patch(worker.id, r.WorkerPatch(draining=False), ADMIN, world.now)
    (deploy,) = worker.beat().commands
    assert isinstance(stop, m.Stop) and isinstance(deploy, m.Deploy)
    assert stop.generation < deploy.generation


def test_a_stop_of_what_moved_away_outlives_a_disk_that_is_lost_after_its_ack(world: PlaneWorld) -> None:
    """The list in the beat with the ack was older than the container; the stop must not be forgotten with that beat."""
    here, there = world.worker("here"), world.worker("there")
    here.journal_id = "before"
    deployment_id = world.deploy(worker_id=here.id)
    here.beat()
    intents.patch(deployment_id, r.DeploymentPatch(worker_id=there.id), ADMIN, world.now)
    assert here.types() == ["stop"]
    assert here.types() == []
    here.journal_id, here.acks, here.active = "after", [], [deployment_id]
    assert here.types() == ["stop"]
    here.active = []
    for _ in range(30):
        world.pass_(5)
        here.beat()
    assert slots.get(here.id, deployment_id) is None


def test_the_stopped_of_an_old_container_does_not_free_what_the_new_one_holds(world: PlaneWorld) -> None:
    """A basic client says how the stop before a deploy went when it has that deploy already."""
    worker = world.worker(gpus=1)
    deployment_id = world.deploy()
    worker.run(deployment_id)
    world.restart(deployment_id)
    assert worker.types() == ["stop"]
    worker.report(deployment_id, "stopping")
    assert worker.types(active_deployments=[]) == ["deploy"]
    worker.report(deployment_id, "stopped")
    assert admin.get(worker.id, world.now).gpu_claims == {"0": deployment_id}
    worker.report(deployment_id, "starting")
    world.restart(deployment_id)
    assert worker.types() == ["stop"], "the new one is not deployed over"


def test_a_look_that_another_bell_overtook_is_not_remembered(world: PlaneWorld) -> None:
    worker = world.worker()
    worker.beat()
    with world.database.overtaken_after(1, lambda: slots.wake(worker.id, world.now + 1)):
        worker.beat(active_deployments=["x"])
        assert world.database.overtake is None
    found = find(WorkerHeartbeat, worker.id)
    assert found is not None and found.needs_reconcile, "the next heartbeat looks again"


def beats(worker: Worker, world: PlaneWorld, times: int = 4) -> list[tuple[str, str]]:
    """What a worker is sent in a few heartbeats, 13 seconds apart; what is sent again counts once."""
    sent: dict[tuple[str, str], None] = {}
    for _ in range(times):
        answer = worker.beat()
        for each in answer.commands:
            if isinstance(each, m.Intent):
                sent[type(each).__name__, each.deployment_id] = None
        world.pass_(13)
    return list(sent)


def test_after_a_takeover_the_new_machine_has_its_gpus_with_its_first_heartbeat(world: PlaneWorld) -> None:
    worker = world.worker(gpus=1, machine_id="old")
    old = world.deploy(gpus=1)
    worker.run(old)
    new = world.deploy(gpus=1)
    world.pass_(200)
    token = tokens.create_token(r.NewRegistrationToken(takeover=True), ADMIN, world.now).token
    successor = world.worker(gpus=1, token=str(token), machine_id="new")
    assert workers.get(successor.id).claims == {"0": old}
    assert beats(successor, world, 2) == [("Deploy", new)]


def test_a_command_is_sent_with_each_heartbeat_until_it_is_acknowledged(world: PlaneWorld) -> None:
    worker = agent(world)
    deployment_id, first = world.deploy(), world.now
    for _ in range(4):
        worker.acks = []  # the answer was lost
        assert worker.types() == ["deploy"]
        world.pass_(1)
    assert worker.types() == []
    assert slot_of(worker, deployment_id).sent_at == first


def test_when_nothing_is_under_way_a_heartbeat_is_one_write(world: PlaneWorld) -> None:
    worker = agent(world)
    run(world, worker)
    for _ in range(9):
        worker.beat()
    world.ask(worker, "pull_image", image="a:1")
    assert worker.types() == ["pull_image"]
    worker.beat()
    for _ in range(3):
        with world.database.counting() as calls:
            worker.beat()
        assert [operation for operation, _ in calls] == ["UpdateItem"]


@pytest.mark.parametrize(("status", "is_sent_again"), [("running", True), ("stopped", False), ("error", False)])
def test_an_agent_that_lost_its_journal_is_sent_again_what_has_not_ended(
    world: PlaneWorld, status: str, is_sent_again: bool
) -> None:
    worker = agent(world)
    deployment_id = run(world, worker)
    world.pass_(1)
    if status != "running":
        tell(world, worker, deployment_id, status)
    worker.active, worker.journal_id = [], "another"
    assert worker.types() == (["deploy"] if is_sent_again else [])


@pytest.mark.parametrize("deleted", [False, True])
def test_a_stop_of_what_has_ended_is_sent_again_to_a_journal_that_is_new(world: PlaneWorld, deleted: bool) -> None:
    worker = agent(world)
    deployment_id = run(world, worker)
    world.pass_(1)
    world.stop(deployment_id)
    assert worker.types() == ["stop"]
    worker.beat()
    tell(world, worker, deployment_id, "stopped")
    if deleted:
        intents.delete(deployment_id, ADMIN, world.now)
    worker.journal_id = "another"
    assert worker.types() == ["stop"]


def test_an_ack_in_the_beat_of_a_new_journal_is_of_what_the_old_one_had(world: PlaneWorld) -> None:
    worker = agent(world)
    world.deploy()
    worker.beat()
    worker.journal_id = "another"
    assert worker.types() == ["deploy"]
    assert worker.types() == []


def test_an_agent_that_takes_a_name_over_has_its_gpus_with_its_first_heartbeat(world: PlaneWorld) -> None:
    worker = world.worker(gpus=1, machine_id="old")
    old = world.deploy(gpus=1)
    worker.run(old)
    new = world.deploy(gpus=1)
    world.pass_(200)
    token = tokens.create_token(r.NewRegistrationToken(takeover=True), ADMIN, world.now).token
    successor = world.worker(gpus=1, token=str(token), machine_id="new", boot_id="b", journal_id="k")
    successor.beat()
    assert workers.get(successor.id).claims == {"0": new}


def test_the_absence_of_what_runs_is_no_receipt_of_an_agent_for_its_stop(world: PlaneWorld) -> None:
    worker = agent(world)
    deployment_id = run(world, worker)
    world.stop(deployment_id)
    worker.active = []
    for _ in range(4):
        world.pass_(20)
        worker.acks = []
        assert worker.types() == ["stop"]
    assert world.see(deployment_id).status == "running", "what was not acknowledged may not have been heard"


def test_a_report_whose_receipt_was_cut_off_is_one_all_the_same(world: PlaneWorld) -> None:
    worker = agent(world)
    deployment_id = run(world, worker)
    cut_off(world, worker, deployment_id)
    assert worker.types() == []
    assert slot_of(worker, deployment_id).settled_at == world.now


def test_a_report_is_no_receipt_for_a_journal_that_was_lost_since(world: PlaneWorld) -> None:
    worker = agent(world)
    deployment_id = run(world, worker)
    cut_off(world, worker, deployment_id)
    worker.journal_id = "another"
    assert worker.types() == ["deploy"]


def test_a_report_is_no_receipt_for_a_journal_that_was_put_back_since(world: PlaneWorld) -> None:
    worker = agent(world)
    deployment_id = world.deploy()
    worker.beat(inbox=0)
    tell(world, worker, deployment_id, "running")
    worker.active, worker.acks = [deployment_id], []
    cut_off(world, worker, deployment_id)
    worker.register(boot_id="b", past_boot_ids=["a"])
    assert worker.types(inbox=0) == ["deploy"]


def test_a_report_of_the_generation_before_is_no_receipt(world: PlaneWorld) -> None:
    worker = agent(world)
    deployment_id = run(world, worker)
    world.stop(deployment_id)
    assert worker.types() == ["stop"]
    worker.acks = []
    assert worker.types() == ["stop"]


def test_what_ended_lets_go_of_its_gpus_although_the_function_was_cut_off(world: PlaneWorld) -> None:
    worker = agent(world, gpus=1)
    deployment_id = run(world, worker)
    tell(world, worker, deployment_id, "error", message="why")
    world.pass_(1)
    slot_of(worker, deployment_id).update(actions=[Slot.holds_gpus.set(True)])
    workers.get(worker.id).record.update(actions=[WorkerRecord.claims.set(f'{{"0":"{deployment_id}"}}')])
    worker.active = []
    worker.beat()
    assert workers.get(worker.id).claims == {}


def test_an_operation_is_sent_until_it_is_acknowledged(world: PlaneWorld) -> None:
    worker = agent(world)
    operation_id = world.ask(worker, "pull_image", image="a:1")
    for _ in range(3):
        worker.acks = []
        assert worker.types() == ["pull_image"]
    assert worker.types() == []
    assert world.operation(operation_id).status == "accepted"


def test_an_operation_that_was_sent_is_lost_with_the_journal_and_does_not_run_twice(world: PlaneWorld) -> None:
    worker = agent(world)
    worker.beat()
    operation_id = world.ask(worker, "pull_image", image="a:1")
    assert worker.types() == ["pull_image"]
    worker.journal_id = "another"
    assert worker.types() == []
    assert world.operation(operation_id).error_code == "AGENT_STATE_LOST"


@pytest.mark.parametrize("is_gone", [True, False])
def test_an_operation_that_is_over_leaves_the_queue_and_holds_up_no_other(world: PlaneWorld, is_gone: bool) -> None:
    """One that expired, or whose item is gone."""
    worker = agent(world)
    for number in range(8):
        operation = queue.load(world.ask(worker, "pull_image", image=f"a:{number}"), world.now)
        operation.delete() if is_gone else operation.update(actions=[Operation.expires_at.set(world.now - 1)])
    latest = world.ask(worker, "pull_image", image="b:1")
    assert [each.command_id for each in worker.beat().commands] == [latest]
    assert [each.operation_id for each in slots.of_worker(worker.id)[1]] == [latest]
