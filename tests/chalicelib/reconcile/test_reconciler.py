"""What is stored against what a worker lists: one heartbeat concludes nothing, and nothing is left to chance."""

from __future__ import annotations

import string
from contextlib import suppress
from random import Random
from typing import Any

import msgspec
import pytest

from chalicelib.auth import tokens
from chalicelib.deployments import intents, serving
from chalicelib.fleet import workers
from chalicelib.operations import queue
from chalicelib.reconcile import reconciler
from chalicelib.store import slots
from chalicelib.store.items import find
from chalicelib.store.tables import Cold, Deployment, Hot, Operation, Seen, Slot
from chalicelib.workers import admin
from muster.api import messages as m
from muster.api import resources as r
from tests.fixtures.database import Killed
from tests.fixtures.plane_world import ADMIN, PlaneWorld, Worker, lines


def test_what_is_missing_from_two_beats_25_seconds_apart_is_container_lost(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    worker.beat()
    worker.active = []
    worker.beat()
    world.pass_(reconciler.ODD_FOR - 1)
    worker.beat()
    assert world.see(deployment_id).status == "running"
    world.pass_(1)
    worker.beat()
    seen = world.see(deployment_id)
    assert (seen.status, seen.error_code) == ("error", "CONTAINER_LOST")
    assert admin.get(worker.id, world.now).gpu_claims == {}


def test_lists_that_lack_what_runs_conclude_nothing_within_24_seconds(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    for _ in range(4):
        worker.beat(active_deployments=[])
        world.pass_(8)
    assert world.see(deployment_id).status == "running"


def test_what_is_missing_once_and_listed_again_is_not_lost(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    worker.beat(active_deployments=[])
    world.pass_(30)
    worker.beat()
    world.pass_(30)
    worker.beat(active_deployments=[])
    assert world.see(deployment_id).status == "running"


def test_one_that_should_stop_and_is_gone_is_stopped(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    worker.beat()
    world.stop(deployment_id)
    assert worker.types() == ["stop"]
    worker.active = []
    assert worker.types() == [], "its absence is the receipt"
    world.pass_(30)
    worker.beat()
    assert world.see(deployment_id).status == "stopped"


def test_what_is_unknown_here_is_an_orphan_and_never_stopped(world: PlaneWorld) -> None:
    worker = world.worker()
    worker.active = ["somebody-elses"]
    assert [worker.types() for _ in range(12)] == [[]] * 12
    assert admin.get(worker.id, world.now).orphans == ["somebody-elses"]
    worker.active = []
    worker.beat()
    assert admin.get(worker.id, world.now).orphans == []


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
    """A literal client says how the stop before a deploy went when it has that deploy already."""
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


def test_a_heartbeat_brings_as_many_commands_as_it_may_and_the_next_the_rest(world: PlaneWorld) -> None:
    worker = world.worker()
    asked = {world.ask(worker, "pull_image", image=f"a:{n}") for n in range(reconciler.MAX_COMMANDS + 3)}
    first = {command.command_id for command in worker.beat().commands}
    assert len(first) == reconciler.MAX_COMMANDS and first < asked
    for operation_id in first:
        worker.result(operation_id, "failed", error_code="X")
    assert {command.command_id for command in worker.beat().commands} == asked - first


@pytest.mark.parametrize(
    ("drains", "said", "turns"),
    [
        (None, "online", False),
        (None, "draining", True),
        (True, "draining", False),
        (True, "online", True),
        (True, "offline", False),
        (None, "offline", False),
    ],
)
def test_a_worker_turns_when_it_says_that_it_drains_or_no_more(drains: bool | None, said: str, turns: bool) -> None:
    body = msgspec.convert({"status": said, "gpu_usage": [], "active_deployments": []}, m.Heartbeat)
    assert reconciler.turns(Hot("w", drains=drains), body) is turns


def test_a_look_that_another_bell_overtook_is_not_remembered(world: PlaneWorld) -> None:
    worker = world.worker()
    worker.beat()
    with world.database.overtaken_after(1, lambda: slots.ring(worker.id, world.now + 1)):
        worker.beat(active_deployments=["x"])
        assert world.database.overtake is None
    found = find(Hot, worker.id)
    assert found is not None and found.unsettled, "the next heartbeat looks again"


def test_a_contradiction_noted_before_the_clock_was_put_back_counts_from_then_on(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    worker.beat()
    worker.active = []
    worker.beat()
    world.pass_(-86400)
    worker.beat()
    assert world.see(deployment_id).status == "running"
    world.pass_(reconciler.ODD_FOR)
    worker.beat()
    assert world.see(deployment_id).error_code == "CONTAINER_LOST"


def test_lists_that_are_too_long_for_an_item_are_cut(world: PlaneWorld) -> None:
    worker = world.worker()
    random = Random(1)
    tag = "".join(random.choices(string.ascii_letters, k=10_000))
    images = [m.Image(f"sha256:{number}", [tag], 1, "") for number in range(80)]
    folders = [m.DiskPath("\u20ac" * 4096, "weights", 1, 0, 1)] * 16
    unknown = ["\u20ac" * 500 + str(number) for number in range(200)]
    worker.beat(active_deployments=unknown, images=images, disk=m.Disk(1, 0, 1, paths=folders))
    shown = admin.get(worker.id, world.now)
    assert 10 < len(shown.orphans) < len(unknown)
    kept = admin.last_images(worker.id, world.now)
    assert kept is not None and 10 < len(kept.images) < len(images)
    item = find(Seen, worker.id, "seen")
    assert item is not None
    assert sum(len(str(value).encode()) for value in item.attribute_values.values()) < 400_000


# A GPU in which something may still run


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


@pytest.mark.parametrize("journal_id", [None, "j"])
@pytest.mark.parametrize("pinned", [False, True])
def test_the_gpu_of_what_was_lost_is_nobodys_until_its_worker_is_back_without_it(
    world: PlaneWorld, journal_id: str | None, pinned: bool
) -> None:
    worker = world.worker(gpus=1, journal_id=journal_id)
    old = world.deploy(gpus=1)
    worker.run(old)
    world.pass_(200)
    admin.lose(worker.id, ADMIN, world.now)
    new = world.deploy(gpus=1, worker_id=worker.id) if pinned else world.deploy(gpus=1)
    assert world.see(new).worker_id is None
    worker.active = []
    assert beats(worker, world) == [("Deploy", new)]
    assert workers.get(worker.id).claims == {"0": new}


@pytest.mark.parametrize("journal_id", [None, "j"])
def test_what_was_lost_and_comes_back_keeps_its_gpu(world: PlaneWorld, journal_id: str | None) -> None:
    worker = world.worker(gpus=1, journal_id=journal_id)
    old = world.deploy(gpus=1)
    worker.run(old)
    world.pass_(200)
    admin.lose(worker.id, ADMIN, world.now)
    new = world.deploy(gpus=1, worker_id=worker.id)
    assert ("Deploy", new) not in beats(worker, world)
    if journal_id:  # an agent is asked, and reports it again
        worker.report(old, "running", session=worker.answer.session, sequence=99, generation=world.see(old).generation)
    assert (world.see(old).status, world.see(new).worker_id) == ("running", None)
    assert workers.get(worker.id).claims == {"0": old}


def test_what_was_lost_and_is_then_stopped_holds_its_gpu_until_the_stop_is_answered(world: PlaneWorld) -> None:
    worker = world.worker(gpus=1)
    old = world.deploy(gpus=1)
    worker.run(old)
    world.pass_(200)
    admin.lose(worker.id, ADMIN, world.now)
    world.stop(old)
    new = world.deploy(gpus=1, worker_id=worker.id)
    assert beats(worker, world, 2) == [("Stop", old)]
    worker.active = []
    assert beats(worker, world, 2) == [("Deploy", new)]


def test_what_was_lost_and_deleted_holds_its_gpu_until_its_worker_is_back_without_it(world: PlaneWorld) -> None:
    worker = world.worker(gpus=1)
    old = world.deploy(gpus=1)
    worker.run(old)
    world.pass_(200)
    admin.lose(worker.id, ADMIN, world.now)
    intents.delete(old, ADMIN, world.now)
    new = world.deploy(gpus=1, worker_id=worker.id)
    assert beats(worker, world, 2) == [("Stop", old)]
    worker.active = []
    assert ("Deploy", new) in beats(worker, world, 4)


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


def test_a_running_deployment_takes_its_gpu_back_from_one_that_was_never_sent(world: PlaneWorld) -> None:
    """As after an older database was restored: a report says that something runs where nobody was."""
    worker = world.worker(gpus=1, journal_id="j")
    old = world.deploy(gpus=1)
    worker.run(old)
    workers.get(worker.id).cold.update(actions=[Cold.claims.set("{}")])
    new = world.deploy(gpus=1)
    assert workers.get(worker.id).claims == {"0": new}
    assert worker.types() == []
    assert (world.see(new).worker_id, workers.get(worker.id).claims) == (None, {"0": old})
    assert "0 of 1 GPUs free" in (world.see(new).message or "")


def test_a_basic_client_is_sent_nothing_for_a_gpu_in_which_it_says_that_something_runs(world: PlaneWorld) -> None:
    """The report that it has stopped came before a list that has it still."""
    worker = world.worker(gpus=1)
    old, new = world.deploy(gpus=1), world.deploy(gpus=1)
    worker.run(old)
    world.stop(old)
    assert worker.types() == ["stop"]
    worker.report(old, "stopped")
    assert world.see(new).worker_id == worker.id
    assert "deploy" not in worker.types()
    worker.active = []
    assert worker.types() == ["deploy"]


def test_a_basic_client_that_lists_what_it_has_not_reported_is_sent_the_deploy_again(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    assert worker.types() == ["deploy"]
    worker.active = [deployment_id]  # its report was lost, as one made before its session counted
    world.pass_(5)
    assert worker.types() == [], "one contradiction may be news on its way"
    world.pass_(reconciler.ODD_FOR)
    assert worker.types() == ["deploy"]
    worker.report(deployment_id, "running", container_id="c1", port=8001)
    world.pass_(2 * reconciler.ODD_FOR)
    assert worker.types() == []
    assert world.see(deployment_id).status == "running"


@pytest.mark.parametrize("status", ["downloading", "starting", "running"])
def test_a_basic_client_that_registers_again_is_told_again_what_it_has_not_brought_up(
    world: PlaneWorld, status: str
) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    assert worker.types() == ["deploy"]
    worker.report(deployment_id, status, container_id="c1", port=8001)
    worker.active = [deployment_id]
    world.pass_(91)
    worker.register()
    assert worker.types() + worker.types() == ([] if status == "running" else ["deploy"])
    worker.report(deployment_id, "running", container_id="c1", port=8001)
    assert worker.types() + worker.types() == []


# Receipts of an agent


def agent(world: PlaneWorld, **host: Any) -> Worker:
    return world.worker(boot_id="a", journal_id="j", **host)


def slot_of(worker: Worker, deployment_id: str) -> Slot:
    slot = slots.get(worker.id, deployment_id)
    assert slot is not None
    return slot


def run(world: PlaneWorld, worker: Worker, **wanted: Any) -> str:
    """A deployment that an agent was sent, acknowledged and runs."""
    deployment_id = world.deploy(**wanted)
    worker.beat()
    tell(world, worker, deployment_id, "running", port=8001)
    worker.active = [*worker.active, deployment_id]
    worker.beat()
    return deployment_id


def tell(world: PlaneWorld, worker: Worker, deployment_id: str, status: str, **fields: Any) -> None:
    order = {"generation": world.see(deployment_id).generation, "session": worker.answer.session}
    sequence = int(intents.load(deployment_id).status_sequence) + 1
    worker.report(deployment_id, status, **order, sequence=sequence, **fields)


def hot_of(worker: Worker) -> Hot:
    hot = find(Hot, worker.id)
    assert hot is not None
    return hot


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


@pytest.mark.parametrize(
    ("same_session", "behind", "is_sent_again"),
    [(False, 1, True), (False, 0, False), (True, 1, False), (False, None, False)],
)
def test_a_journal_that_was_put_back_is_sent_what_it_missed(
    world: PlaneWorld, same_session: bool, behind: int | None, is_sent_again: bool
) -> None:
    """A journal says how far it had heard: one that a session before had heard further is older."""
    worker = agent(world)
    deployment_id = world.deploy()
    assert worker.types(inbox=0) == ["deploy"]
    worker.beat()
    sent = int(slot_of(worker, deployment_id).sent_inbox)
    if not same_session:
        worker.register(boot_id="b", past_boot_ids=["a"])
    heard = {} if behind is None else {"inbox": sent - behind}
    assert worker.types(**heard) == (["deploy"] if is_sent_again else [])


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


def test_what_was_sent_in_an_answer_is_above_the_inbox_that_the_answer_tells(world: PlaneWorld) -> None:
    """An answer that began before has a lower inbox, whenever it arrives; all commands of a look have the same."""
    worker = agent(world)
    deployed = [world.deploy(gpus=0) for _ in range(2)]
    answer = worker.beat(inbox=0)
    assert [slot_of(worker, each).sent_inbox for each in deployed] == [hot_of(worker).inbox] * 2
    assert hot_of(worker).inbox == answer.inbox + 1
    again = worker.beat(inbox=answer.inbox)
    assert (len(again.commands), again.inbox) == (0, answer.inbox + 1)


def test_a_client_that_tells_no_inbox_costs_no_write_for_it(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    answer = worker.beat()
    assert slot_of(worker, deployment_id).sent_inbox == hot_of(worker).inbox == answer.inbox


@pytest.mark.parametrize(
    ("sent_session", "journal", "never"), [(0, None, True), (None, None, True), (5, None, False), (0, b"j", False)]
)
def test_a_stop_that_no_session_was_sent_is_of_the_machine_that_had_the_name_before(
    sent_session: int | None, journal: bytes | None, never: bool
) -> None:
    body = m.Heartbeat("online", [], [], session=6, journal_id="j")
    one = reconciler._Look(Hot("w", journal=journal), body, 0.0, False, 1)
    assert one.never_heard(Slot("w", "D#d", sent_session=sent_session)) is never


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


def cut_off(world: PlaneWorld, worker: Worker, deployment_id: str) -> None:
    """As a function leaves it that was killed after it had stored a report."""
    slot_of(worker, deployment_id).update(actions=[Slot.settled_at.remove()])
    slots.ring(worker.id, world.now)


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
    slot_of(worker, deployment_id).update(actions=[Slot.holds.set(True)])
    workers.get(worker.id).cold.update(actions=[Cold.claims.set(f'{{"0":"{deployment_id}"}}')])
    worker.active = []
    worker.beat()
    assert workers.get(worker.id).claims == {}


# What an agent lists


def test_what_an_agent_runs_although_it_was_thought_lost_is_asked_for_again(world: PlaneWorld) -> None:
    worker = agent(world)
    deployment_id = run(world, worker)
    world.pass_(200)
    admin.lose(worker.id, ADMIN, world.now)
    assert worker.types() == []
    world.pass_(reconciler.ODD_FOR)
    assert worker.types() == ["deploy"], "its report is the answer"
    assert world.see(deployment_id).status == "error"


def test_a_list_that_has_what_was_lost_now_and_then_concludes_nothing(world: PlaneWorld) -> None:
    """Neither that it runs, nor that its GPU is free: between two lists that lack it, it was there."""
    worker = agent(world, gpus=1)
    deployment_id = run(world, worker)
    world.pass_(200)
    admin.lose(worker.id, ADMIN, world.now)
    for active in ([], [deployment_id], [], [deployment_id], []):
        assert worker.types(active_deployments=active) == []
        world.pass_(reconciler.ODD_FOR - 1)
    assert workers.get(worker.id).claims == {"0": deployment_id}
    worker.active = []
    worker.beat()
    world.pass_(1)
    worker.beat()
    assert workers.get(worker.id).claims == {}


def test_what_a_basic_client_lists_after_it_said_that_it_stopped_runs(world: PlaneWorld) -> None:
    """It cannot say which of its containers had stopped."""
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    worker.report(deployment_id, "stopped")
    worker.beat()
    world.pass_(reconciler.ODD_FOR)
    worker.beat()
    assert world.see(deployment_id).status == "running"
    assert workers.get(worker.id).claims == {"0": deployment_id}


@pytest.mark.parametrize("status", ["stopped", "error"])
def test_what_an_agent_lists_after_it_said_that_it_ended_has_ended(world: PlaneWorld, status: str) -> None:
    worker = agent(world)
    deployment_id = run(world, worker)
    world.pass_(1)
    tell(world, worker, deployment_id, status)
    for _ in range(4):
        assert worker.types(acks=["any"]) == []  # an ack makes it look
        world.pass_(reconciler.ODD_FOR)
    assert world.see(deployment_id).status == status


def test_what_should_stop_while_it_starts_and_is_not_listed_has_stopped(world: PlaneWorld) -> None:
    worker = agent(world)
    deployment_id = world.deploy()
    worker.beat()
    tell(world, worker, deployment_id, "starting")
    world.stop(deployment_id)
    assert worker.types() == ["stop"]
    worker.beat()
    world.pass_(reconciler.ODD_FOR - 1)
    worker.beat()
    assert world.see(deployment_id).status == "starting"
    world.pass_(1)
    worker.beat()
    assert world.see(deployment_id).status == "stopped"


def test_what_starts_and_is_not_listed_yet_is_not_lost(world: PlaneWorld) -> None:
    worker = agent(world)
    deployment_id = world.deploy()
    worker.beat()
    tell(world, worker, deployment_id, "starting")
    for _ in range(4):
        worker.beat(acks=["any"])
        world.pass_(reconciler.ODD_FOR)
    assert world.see(deployment_id).status == "starting"


def test_a_stop_of_what_was_deleted_is_sent_again_at_the_second_list_that_has_it(world: PlaneWorld) -> None:
    worker = agent(world)
    deployment_id = run(world, worker)
    world.pass_(1)
    tell(world, worker, deployment_id, "error")
    intents.delete(deployment_id, ADMIN, world.now)
    assert [worker.types() for _ in range(3)] == [["stop"], [], ["stop"]]


def test_a_stop_of_what_was_deleted_is_forgotten_at_once_where_its_end_was_reported(world: PlaneWorld) -> None:
    worker = agent(world)
    deployment_id = run(world, worker)
    world.pass_(1)
    tell(world, worker, deployment_id, "error")
    intents.delete(deployment_id, ADMIN, world.now)
    worker.active = []
    assert [worker.types() for _ in range(2)] == [["stop"], []]
    assert slots.get(worker.id, deployment_id) is None


@pytest.mark.parametrize(("is_over", "seconds"), [(True, 0.0), (False, reconciler.ODD_FOR)])
def test_a_stop_is_sent_again_while_its_worker_lists_what_it_stops(
    world: PlaneWorld, is_over: bool, seconds: float
) -> None:
    """At the second heartbeat where it was said to be over, else when it had its time."""
    worker = agent(world)
    deployment_id = run(world, worker)
    world.stop(deployment_id)
    assert worker.types() == ["stop"]
    world.pass_(1)
    if is_over:
        worker.beat()
        tell(world, worker, deployment_id, "stopped")
    assert worker.types() == []
    world.pass_(max(0.0, seconds - 1))
    assert worker.types() == ([] if not is_over else ["stop"])
    world.pass_(1)
    assert worker.types() == ([] if is_over else ["stop"])


def test_the_old_instance_serves_until_it_is_not_listed(world: PlaneWorld) -> None:
    worker = agent(world)
    deployment_id = run(world, worker)
    worker.beat(active_deployments=[])
    assert serving.of(intents.load(deployment_id)) is not None, "one list may be older than a report"
    world.restart(deployment_id)
    worker.beat()
    assert serving.of(intents.load(deployment_id)) is not None
    worker.active = []
    worker.beat()
    assert serving.of(intents.load(deployment_id)) is None


def test_what_a_basic_client_is_told_to_stop_for_the_new_instance_no_longer_serves(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    world.restart(deployment_id)
    assert serving.of(intents.load(deployment_id)) is not None
    (stop,) = worker.beat().commands
    assert isinstance(stop, m.Stop) and stop.command_id.endswith("-clear")
    assert serving.of(intents.load(deployment_id)) is None


def test_the_stop_of_what_was_deleted_is_kept_until_it_was_not_listed_for_25_seconds(world: PlaneWorld) -> None:
    worker = agent(world)
    deployment_id = run(world, worker)
    world.pass_(200)
    admin.lose(worker.id, ADMIN, world.now)
    intents.delete(deployment_id, ADMIN, world.now)
    assert worker.types() == ["stop"]
    worker.active = []
    worker.beat()
    for seconds, kept in ((reconciler.ODD_FOR - 1, True), (1, False)):
        world.pass_(seconds)
        worker.beat(acks=["any"])
        assert (slots.get(worker.id, deployment_id) is not None) is kept


# Sending


def test_a_deploy_has_all_that_the_worker_needs(world: PlaneWorld) -> None:
    worker = world.worker(gpus=4)
    deployment_id = world.deploy(config={"max_model_len": 8}, image="i:1", env={"A": "b"}, gpus=[1, 3], restart="never")
    (deploy,) = worker.beat().commands
    generation = world.see(deployment_id).generation
    key = str(intents.load(deployment_id).api_key)
    assert deploy == m.Deploy(
        command_id=f"{deployment_id}-g{generation}",
        deployment_id=deployment_id,
        generation=generation,
        backend="vllm",
        model="org/model",
        config={"max_model_len": 8},
        image="i:1",
        env={"VLLM_API_KEY": key, "A": "b"},
        gpus=[1, 3],
        restart="never",
    )


def test_no_more_deploys_than_a_heartbeat_may_bring_count_as_sent(world: PlaneWorld) -> None:
    worker = agent(world)
    deployed = {world.deploy(gpus=0) for _ in range(reconciler.MAX_COMMANDS + 2)}
    first = {each.deployment_id for each in worker.beat().commands if isinstance(each, m.Deploy)}
    assert len(first) == reconciler.MAX_COMMANDS == 64
    assert {each for each in deployed if slot_of(worker, each).sent_at is not None} == first
    assert {each.deployment_id for each in worker.beat().commands if isinstance(each, m.Deploy)} == deployed - first


def test_a_new_session_is_sent_what_the_one_before_did_not_acknowledge(world: PlaneWorld) -> None:
    worker = agent(world)
    deployment_id = world.deploy()
    assert worker.types() == ["deploy"]
    worker.acks = []
    worker.register(boot_id="b", past_boot_ids=["a"])
    assert worker.types() == ["deploy"]
    assert slot_of(worker, deployment_id).sent_session == worker.answer.session


@pytest.mark.parametrize("calls", range(1, 9))
def test_a_session_that_is_overtaken_by_the_next_does_not_send_after_it(world: PlaneWorld, calls: int) -> None:
    """What is marked as sent to the newer session stays so: an older one may not acknowledge it."""
    worker = agent(world)
    deployment_id = world.deploy()

    def next_session() -> None:
        follower = world.worker(boot_id="b", past_boot_ids=["a"], journal_id="j")
        assert follower.types() == ["deploy"]

    with world.database.overtaken_after(calls, next_session):
        worker.beat()
    slot = slot_of(worker, deployment_id)
    assert slot.sent_session == hot_of(worker).session


@pytest.mark.parametrize("calls", range(1, 9))
def test_what_counts_as_sent_was_sent(world: PlaneWorld, calls: int) -> None:
    """An operator's change between reading and marking is sent by the next heartbeat, as the new intent that it is."""
    worker = agent(world)
    deployment_id = world.deploy()
    with world.database.overtaken_after(calls, lambda: world.restart(deployment_id)):
        commands = worker.beat().commands
    slot = slot_of(worker, deployment_id)
    sent = {each.generation for each in commands if isinstance(each, m.Deploy)}
    assert (slot.sent_at is not None) is (slot.generation in sent)


def test_a_deploy_for_another_gpu_is_not_held_up_by_what_runs(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    worker.run(world.deploy(gpus=[0]))
    worker.beat()
    world.deploy(gpus=[1])
    assert worker.types() == ["deploy"]


def test_a_deploy_is_not_sent_to_a_gpu_that_is_lost_since_it_was_placed(world: PlaneWorld) -> None:
    worker = agent(world, gpus=2)
    deployment_id = world.deploy(gpus=1)
    lost = m.GpuInfo(2, [m.GpuDevice(0, lost=True), m.GpuDevice(1)])
    (deploy,) = worker.beat(gpu_info=lost).commands or worker.beat().commands
    assert isinstance(deploy, m.Deploy) and (deploy.deployment_id, deploy.gpus) == (deployment_id, [1])


def test_a_slot_without_a_deployment_is_sent_nothing(world: PlaneWorld) -> None:
    worker = agent(world)
    deployment_id = world.deploy()
    intents.load(deployment_id).delete()
    assert worker.types() == []


# Operations


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


# What the worker says of itself


def test_what_a_worker_lists_and_says_is_kept_for_people(world: PlaneWorld) -> None:
    worker = agent(world)
    known = run(world, worker)
    disk = m.Disk(10, 4, 6, paths=[m.DiskPath("/weights", "weights", 10, 4, 6)])
    images = [m.Image("sha256:1", ["a:1"], 5, "2026-01-01")] * 1025
    orphans = [{"deployment_id": "told", "gpus": []}]
    worker.beat(active_deployments=[known, "listed"], orphans=orphans, images=images, disk=disk)
    seen = find(Seen, worker.id, "seen")
    assert seen is not None
    assert msgspec.json.decode(seen.active) == sorted([known, "listed"])
    shown = admin.get(worker.id, world.now)
    assert shown.orphans == ["listed", "told"]
    assert shown.disk is not None and shown.disk.paths == disk.paths
    kept = admin.last_images(worker.id, world.now)
    assert kept is not None and len(kept.images) == 1024
    world.pass_(1)
    worker.beat(active_deployments=[known])
    assert admin.get(worker.id, world.now).orphans == []
    assert admin.last_images(worker.id, world.now) == kept, "what is not said stays"


def test_a_condition_is_kept_and_ends_with_the_heartbeat_without_it(world: PlaneWorld) -> None:
    worker = agent(world)
    worker.beat()
    worker.beat(conditions=[m.ReportedCondition("ContainerRuntimeDown", "it hangs")])
    (held,) = admin.get(worker.id, world.now).conditions
    assert (held.type, held.message) == ("ContainerRuntimeDown", "it hangs")
    worker.beat()
    told = [line.type for line in lines(world, worker.id)]
    assert told[-2:] == ["condition_set", "condition_cleared"]


def test_a_changed_text_of_a_condition_is_kept_with_a_later_look(world: PlaneWorld) -> None:
    worker = agent(world)
    worker.beat(conditions=[m.ReportedCondition("DiskFull", "0 B free")])
    for _ in range(12):
        world.pass_(30)
        worker.beat(conditions=[m.ReportedCondition("DiskFull", "5 B free")])
    assert [each.message for each in admin.get(worker.id, world.now).conditions] == ["5 B free"]


def test_a_gpu_that_appears_is_given_to_what_waits_in_the_same_heartbeat(world: PlaneWorld) -> None:
    worker = agent(world, gpus=0)
    worker.beat()
    world.deploy(gpus=1)
    assert worker.types(gpu_info=m.GpuInfo(1, [m.GpuDevice(0)])) == ["deploy"]


def test_a_worker_that_is_heard_of_again_is_told_once_and_gets_what_waits(world: PlaneWorld) -> None:
    worker = agent(world)
    worker.beat()
    world.pass_(200)
    world.sweep()
    assert hot_of(worker).down_since is not None
    world.deploy()
    worker.beat()
    assert hot_of(worker).down_since is None
    assert worker.types() == ["deploy"], "in the next look, since placing is its last step"
    worker.beat()
    assert [line.type for line in lines(world, worker.id)].count("online") == 1


def test_a_worker_that_drains_itself_is_told_at_each_turn(world: PlaneWorld) -> None:
    worker = agent(world)
    for status in ("online", "draining", "draining", "online", "online", "draining"):
        worker.beat(status=status)
    told = [line.type for line in lines(world, worker.id)]
    assert [each for each in told if each.endswith("rained") or each == "draining"] == [
        "draining",
        "undrained",
        "draining",
    ]
