"""Orders of events that the simulator came upon, each in as few steps as it takes."""

from __future__ import annotations

import copy

import msgspec
import pytest

from chalicelib.auth import tokens
from chalicelib.deployments import intents
from chalicelib.fleet import scan
from chalicelib.reconcile import sending
from chalicelib.store import slots
from chalicelib.store.items import TransactionConflict, transact
from chalicelib.workers import admin
from muster.api import messages as m
from muster.api import resources as r
from tests.fixtures.database import Killed
from tests.fixtures.plane_world import ADMIN, PlaneWorld, Worker


def agent(worker: Worker) -> Worker:
    worker.journal_id = "journal"
    return worker


def moved(world: PlaneWorld) -> tuple[Worker, Worker, str]:
    """Two workers, and a deployment that left the first, silent one for the second, where it runs."""
    old, new = world.worker("old"), world.worker("new")
    deployment_id = world.deploy(gpus=0, worker_id=old.id)
    old.run(deployment_id)
    world.pass_(200)
    new.beat()

    intents.patch(deployment_id, r.DeploymentPatch(worker_id=new.id), ADMIN, world.now)
    new.run(deployment_id)
    return old, new, deployment_id


def deployed_without_ringing(world: PlaneWorld, worker: Worker) -> str:
    """A deployment whose intent was made by a function that was killed right after."""
    for calls in range(20):
        with world.database.killed_after(calls), pytest.raises(Killed):
            world.deploy(gpus=0)
        if held := slots.of_worker(worker.id)[0]:
            return held[0].deployment_id
        for left in scan.deployments():
            world.stop(left.deployment_id)
            intents.delete(left.deployment_id, ADMIN, world.now)
    raise AssertionError("no intent was made")


def test_what_moved_on_is_not_lost_with_the_worker_that_it_left(world: PlaneWorld) -> None:
    _, new, deployment_id = moved(world)
    world.pass_(86401)
    new.beat()
    world.sweep()
    assert world.see(deployment_id).status == "running"


def test_what_moved_on_is_not_lost_in_a_takeover(world: PlaneWorld) -> None:
    old, _, deployment_id = moved(world)
    made = tokens.create_token(r.NewRegistrationToken(takeover=True), ADMIN, world.now)
    world.worker("old", token=str(made.token), system_info={"hostname": "another"})
    assert world.see(deployment_id).status == "running"
    assert admin.get(old.id, world.now).name == "old"


def test_a_container_that_came_up_after_its_stop_had_ended_is_stopped_again(world: PlaneWorld) -> None:
    """A basic client that was still starting it when it did not list it."""
    worker = world.worker()
    deployment_id = world.deploy(gpus=0)
    assert worker.types() == ["deploy"]
    world.stop(deployment_id)
    assert worker.types() == ["stop"]
    assert worker.types() == [], "its absence is the receipt"
    worker.report(deployment_id, "starting")
    worker.report(deployment_id, "running")
    worker.active = [deployment_id]
    worker.beat()
    world.pass_(30)
    worker.beat()
    assert worker.types() == ["stop"]


def test_a_stop_goes_to_a_worker_that_may_begin_yet_what_was_lost_with_it(world: PlaneWorld) -> None:
    """A basic client that took the deploy, and waits until a gateway lets its other reports pass."""
    worker = world.worker()
    deployment_id = world.deploy(gpus=0)
    assert worker.types() == ["deploy"]
    world.pass_(200)
    admin.lose(worker.id, ADMIN, world.now)
    for _ in range(3):
        worker.beat()
        world.pass_(30)
    slot = slots.get(worker.id, deployment_id)
    assert slot is not None and not slot.holds_gpus, "its GPUs are free"
    world.start(deployment_id)
    world.stop(deployment_id)
    assert worker.types() == ["stop"], "and not stopped at once: it may begin what it has"


def test_what_an_agent_will_begin_keeps_its_gpus_when_its_worker_was_lost(world: PlaneWorld) -> None:
    """Else another would be given them, and wait there for ever while the first runs."""
    worker = agent(world.worker(gpus=1))
    deployment_id = world.deploy(gpus=1)
    assert worker.types() == ["deploy"]
    world.pass_(200)
    admin.lose(worker.id, ADMIN, world.now)
    for _ in range(3):
        worker.beat(pending_deployments=[deployment_id])
        world.pass_(30)
    slot = slots.get(worker.id, deployment_id)
    assert slot is not None and slot.holds_gpus
    assert world.see(world.deploy("next", gpus=1)).worker_id is None
    for _ in range(2):
        worker.beat()
        world.pass_(30)
    slot = slots.get(worker.id, deployment_id)
    assert slot is not None and not slot.holds_gpus, "its agent gave it up"


def test_a_stop_that_could_not_be_journaled_is_sent_again_until_its_worker_has_it(world: PlaneWorld) -> None:
    """The agent starts the deploy that its journal has: it reported the stop, and lists nothing of it yet."""
    old, new = agent(world.worker("old")), world.worker("new")
    deployment_id = world.deploy(gpus=0, worker_id=old.id)
    assert old.types() == ["deploy"]
    old.beat(pending_deployments=[deployment_id])
    intents.patch(deployment_id, r.DeploymentPatch(worker_id=new.id), ADMIN, world.now)
    assert old.types(pending_deployments=[deployment_id]) == ["stop"]
    old.acks = []
    slot = slots.get(old.id, deployment_id)
    assert slot is not None
    generation = int(slot.generation)
    old.report(deployment_id, "stopping", generation=generation, session=old.answer.session, sequence=1)
    sent = []
    for _ in range(3):
        sent += old.types(pending_deployments=[deployment_id])
        old.acks = []
        world.pass_(30)
    assert "stop" in sent


def test_an_intent_that_was_sent_since_it_was_read_is_read_again(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy(gpus=0)
    before = slots.get(worker.id, deployment_id)
    assert before is not None and slots.never_sent(before)
    assert worker.types() == ["deploy"]
    with pytest.raises(TransactionConflict):
        stop = slots.Intent(worker.id, deployment_id, "stop", int(before.generation) + 1)
        transact(lambda t: slots.put(t, stop, before))


def test_an_older_sessions_word_is_no_receipt(world: PlaneWorld) -> None:
    worker = agent(world.worker())
    deployment_id = world.deploy(gpus=0)
    assert worker.types() == ["deploy"]
    session = int(worker.answer.session or 0)
    for said, is_settled in ((session - 1, False), (session, True)):
        slot = slots.get(worker.id, deployment_id)
        assert slot is not None
        slots.settle(slot, said, world.now)
        assert (slots.get(worker.id, deployment_id).settled_at is not None) is is_settled  # type: ignore[union-attr]


def test_a_late_answer_to_a_stop_says_nothing_of_the_deploy_after_it(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy(gpus=0)
    worker.run(deployment_id)
    worker.beat()
    world.restart(deployment_id)
    assert worker.types() == ["stop"]
    worker.active = []
    assert worker.types() == ["deploy"], "its absence is the receipt"
    assert not worker.report(deployment_id, "stopped").applied
    worker.report(deployment_id, "starting")
    slot = slots.get(worker.id, deployment_id)
    assert slot is not None and slot.holds_gpus
    assert worker.report(deployment_id, "running").applied


def test_what_a_basic_client_still_lists_was_not_the_one_that_stopped(world: PlaneWorld) -> None:
    """It was slow, and did the deploy before, the stop and the deploy after it in one go."""
    worker = world.worker()
    deployment_id = world.deploy(gpus=0)
    worker.types()
    world.restart(deployment_id)
    assert worker.types() == ["stop"]
    assert worker.types() == ["deploy"]
    for status in ("starting", "stopping", "stopped"):
        worker.report(deployment_id, status)
    worker.active = [deployment_id]
    worker.beat()
    world.pass_(25)
    worker.beat()
    assert world.see(deployment_id).status == "running"


def test_what_is_newer_than_a_restored_database_can_be_stopped(world: PlaneWorld) -> None:
    worker = agent(world.worker())
    deployment_id = world.deploy(gpus=0)
    assert worker.types() == ["deploy"]
    world.stop(deployment_id)
    newer = int(world.now * 1000) + 100_000
    worker.types()
    worker.active = [deployment_id]
    for sequence, status in enumerate(("starting", "running")):
        worker.report(deployment_id, status, generation=newer, session=worker.answer.session, sequence=sequence)
    assert (world.see(deployment_id).desired, world.see(deployment_id).status) == ("stopped", "running")
    world.pass_(200)
    world.stop(deployment_id)
    assert worker.types() == ["stop"]


def test_what_outgrew_the_stop_that_was_left_there_is_stopped(world: PlaneWorld) -> None:
    """An older database was restored: it had the move away, and not the deploy that came back."""
    old, _, deployment_id = moved(world)
    agent(old)
    stop = slots.get(old.id, deployment_id)
    assert stop is not None
    came_back = {"generation": int(stop.generation) + 5, "session": old.answer.session}
    assert old.types() == ["stop"]
    assert not old.report(deployment_id, "running", **came_back, sequence=1).applied
    assert old.types() == [], "nobody has said anything since the restore"

    world.pass_(60)
    world.restart(deployment_id)
    old.report(deployment_id, "running", **came_back, sequence=2)
    assert [msgspec.to_builtins(each)["generation"] for each in old.beat().commands] == [came_back["generation"] + 1]


def test_the_container_before_is_not_the_deploy_that_a_lost_worker_never_heard_of(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy(gpus=0)
    worker.run(deployment_id)
    world.restart(deployment_id)
    world.pass_(86401)
    world.sweep()
    assert world.see(deployment_id).error_code == "WORKER_LOST"
    worker.beat()
    world.pass_(30)
    assert worker.types() == ["stop"], "what lives there makes room first"
    worker.active = []
    assert worker.types() == ["deploy"]
    worker.report(deployment_id, "running")
    assert world.see(deployment_id).status == "running"


def test_a_stop_outlives_the_loss_of_its_worker_and_the_deletion(world: PlaneWorld) -> None:
    """It had the deploy, and had not begun: after a day it goes on from its journal."""
    worker = agent(world.worker())
    deployment_id = world.deploy(gpus=0)
    assert worker.types() == ["deploy"]
    world.stop(deployment_id)
    world.pass_(86401)
    world.sweep()
    assert world.see(deployment_id).error_code == "WORKER_LOST"
    intents.delete(deployment_id, ADMIN, world.now)
    assert worker.types() == ["stop"]


def test_what_runs_again_was_stopping_in_a_restored_database(world: PlaneWorld) -> None:
    worker = agent(world.worker())
    deployment_id = world.deploy(gpus=0)
    worker.beat()
    word = {"generation": world.see(deployment_id).generation, "session": worker.answer.session}
    worker.report(deployment_id, "running", **word, sequence=1)
    world.stop(deployment_id)
    word["generation"] = world.see(deployment_id).generation
    worker.report(deployment_id, "stopping", **word, sequence=2)
    word["generation"] += 100_000
    assert worker.report(deployment_id, "running", **word, sequence=3).applied
    assert world.see(deployment_id).status == "running"


def test_a_clone_is_sent_what_its_journal_lacks(world: PlaneWorld) -> None:
    original = agent(world.worker(boot_id="first"))
    original.beat()
    heard = original.beat(inbox=0).inbox
    clone = copy.copy(original)
    world.pass_(60)
    deployment_id = world.deploy(gpus=0)
    assert original.types(inbox=heard) == ["deploy"]
    original.report(deployment_id, "running", generation=world.see(deployment_id).generation, session=1, sequence=1)
    assert original.types(inbox=heard) == []
    clone.acks = []
    clone.register(boot_id="second")
    assert clone.types(inbox=heard) == ["deploy"]
    clone.beat(inbox=heard)
    assert clone.types(inbox=clone.beat().inbox) == []


def test_a_clone_is_sent_what_had_waited_longer_than_its_journal_has_heard(world: PlaneWorld) -> None:
    """A deployment keeps its generation while it waits for a GPU; the bell rings for others meanwhile."""
    original = agent(world.worker(gpus=1, boot_id="first"))
    first, second = world.deploy(gpus=1), world.deploy(gpus=1)
    assert original.types(inbox=0) == ["deploy"]
    world.pass_(60)
    world.ask(original)
    heard = original.beat().inbox
    clone = copy.copy(original)
    world.stop(first)
    original.beat(inbox=heard)
    word = {"generation": world.see(first).generation, "session": original.answer.session}
    original.report(first, "stopped", **word, sequence=1)
    assert original.types(inbox=heard) == ["deploy"]
    word["generation"] = world.see(second).generation
    original.report(second, "starting", **word, sequence=2)
    clone.register(boot_id="second")
    assert "deploy" in clone.types(inbox=heard)


def test_a_clone_is_sent_what_its_journal_lacks_although_no_bell_rang_for_it(world: PlaneWorld) -> None:
    """The function that made the intent was killed before it rang; the tenth beat found it."""
    original = agent(world.worker(boot_id="first"))
    original.beat()
    heard = original.beat(inbox=0).inbox
    clone = copy.copy(original)
    world.pass_(60)
    deployment_id = deployed_without_ringing(world, original)
    assert [types for _ in range(10) if (types := original.types(inbox=heard))] == [["deploy"]]
    word = {"generation": world.see(deployment_id).generation, "session": original.answer.session}
    original.report(deployment_id, "starting", **word, sequence=1)
    clone.register(boot_id="second")
    assert clone.types(inbox=heard) == ["deploy"]


@pytest.mark.parametrize("has_a_copy", [True, False], ids=["a copy of the journal", "a new journal"])
def test_a_journal_that_lacks_more_than_one_answer_holds_is_sent_all_of_it(world: PlaneWorld, has_a_copy: bool) -> None:
    """The value of the inbox that comes with the first part is not above the other parts."""
    original = agent(world.worker(boot_id="first"))
    original.beat()
    heard = original.beat(inbox=0).inbox
    clone = copy.copy(original)
    world.pass_(60)
    deployed = {world.deploy(gpus=0) for _ in range(sending.MAX_COMMANDS + 5)}
    sequence = 0
    while commands := original.beat(inbox=heard).commands:
        for command in commands:
            assert isinstance(command, m.Deploy)
            sequence += 1
            word = {"generation": command.generation, "session": original.answer.session, "sequence": sequence}
            original.report(command.deployment_id, "starting", **word)
    assert sequence == len(deployed)
    clone.acks = []
    clone.register(boot_id="second")
    if not has_a_copy:
        clone.journal_id, heard = "another", 0
    sent: list[str] = []
    for _ in range(4):
        answer = clone.beat(inbox=heard)
        heard = answer.inbox
        sent += [command.deployment_id for command in answer.commands if isinstance(command, m.Deploy)]
    assert sorted(sent) == sorted(deployed)


def test_an_agent_that_only_restarted_is_sent_nothing_again(world: PlaneWorld) -> None:
    worker = agent(world.worker(boot_id="first"))
    world.pass_(60)
    world.deploy(gpus=0)
    answer = worker.beat(inbox=0)
    assert answer.commands
    answer = worker.beat(inbox=answer.inbox)
    worker.register(boot_id="second")
    assert worker.types(inbox=answer.inbox) == []


def test_what_has_ended_does_not_come_up_again_where_a_disk_is_lost(world: PlaneWorld) -> None:
    """Its container was stopped by hand, and its GPU is another's by now."""
    worker = agent(world.worker(gpus=1))
    first, second = world.deploy(gpus=1), world.deploy(gpus=1)
    assert worker.types() == ["deploy"]
    word = {"generation": world.see(first).generation, "session": worker.answer.session}
    worker.report(first, "running", **word, sequence=1)
    worker.report(first, "stopped", **word, sequence=2)
    assert worker.types() == ["deploy"]
    assert world.see(second).worker_id == worker.id
    worker.journal_id, worker.acks = "another", []
    assert [each.deployment_id for each in worker.beat().commands if isinstance(each, m.Deploy)] == [second]


def test_what_a_host_without_its_disk_does_not_list_is_sent_to_it_before_anything_is_concluded(
    world: PlaneWorld,
) -> None:
    """It had died, which the list said before the report, when the disk was lost."""
    worker = agent(world.worker())
    deployment_id = world.deploy(gpus=0)
    assert worker.types() == ["deploy"]
    word = {"generation": world.see(deployment_id).generation, "session": worker.answer.session}
    worker.report(deployment_id, "running", **word, sequence=1)
    assert worker.types() == []
    world.pass_(30)
    worker.journal_id, worker.acks = "another", []
    worker.register(boot_id="another")
    assert worker.types() == ["deploy"]
    assert world.see(deployment_id).status == "running"


@pytest.mark.parametrize("calls", range(12))
def test_a_stop_that_is_overtaken_by_a_start_does_not_free_its_gpus(world: PlaneWorld, calls: int) -> None:
    worker = world.worker(gpus=1)
    deployment_id = world.deploy(gpus=1)
    with world.database.overtaken_after(calls, lambda: world.start(deployment_id)):
        world.stop(deployment_id)
    holds = {"stopped": {}, "pending": {"0": deployment_id}}
    assert admin.get(worker.id, world.now).gpu_claims == holds[world.see(deployment_id).status]


@pytest.mark.parametrize("calls", range(12))
def test_a_claim_that_was_left_behind_is_taken_up_by_one(world: PlaneWorld, calls: int) -> None:
    """The claims read the same before and after it was taken up again."""
    worker = world.worker(gpus=1)
    first = world.deploy(gpus=1)
    for most in range(20):
        with world.database.killed_after(most), pytest.raises(Killed):
            world.stop(first)
        if world.see(first).status == "stopped":
            break
    assert admin.get(worker.id, world.now).gpu_claims == {"0": first}
    with world.database.overtaken_after(calls, lambda: world.start(first)):
        world.deploy(gpus=1)
        assert world.database.overtake is None
    (holder,) = admin.get(worker.id, world.now).gpu_claims.values()
    assert [slot.deployment_id for slot in slots.of_worker(worker.id)[0] if slot.holds_gpus] == [holder]


def test_what_is_asked_after_a_restore_is_newer_than_what_was_asked_before_it(world: PlaneWorld) -> None:
    worker = agent(world.worker())
    deployment_id = world.deploy(gpus=0)
    backup = [intents.load(deployment_id), slots.get(worker.id, deployment_id)]
    for _ in range(3):
        world.pass_(1)
        world.restart(deployment_id)
    before = world.see(deployment_id).generation
    for item in backup:
        assert item is not None
        item.save()
    assert world.see(deployment_id).generation < before
    world.pass_(1)
    world.restart(deployment_id)
    assert world.see(deployment_id).generation > before


def test_gpus_are_not_free_before_the_old_container_has_let_go(world: PlaneWorld) -> None:
    worker = world.worker(gpus=1)
    first = world.deploy(gpus=1)
    worker.run(first)
    worker.beat()

    intents.patch(first, r.DeploymentPatch(gpus=0), ADMIN, world.now)
    second = world.deploy(gpus=1)
    assert world.see(second).worker_id is None
    worker.active = []
    worker.types()
    worker.types()
    worker.report(first, "running")
    assert world.see(second).worker_id == worker.id
    assert admin.get(worker.id, world.now).gpu_claims == {"0": second}


def test_a_removal_that_was_cut_off_is_undone_by_the_worker(world: PlaneWorld) -> None:
    worker = agent(world.worker())
    deployment_id = world.deploy(gpus=0)
    worker.beat()
    report = {"generation": world.see(deployment_id).generation, "session": worker.answer.session}
    worker.report(deployment_id, "running", **report, sequence=1)
    worker.active = [deployment_id]
    for calls in range(20):
        with world.database.killed_after(calls), pytest.raises(Killed):
            admin.remove(worker.id, True, "an admin", world.now)
        if world.see(deployment_id).status == "error":
            break
    worker.beat()
    world.pass_(30)
    assert worker.types() == ["deploy"], "it is asked to report again"
    worker.report(deployment_id, "running", **report, sequence=2)
    assert world.see(deployment_id).status == "running"


def test_a_takeover_that_was_cut_off_leaves_a_stop_for_the_machine_that_returns(world: PlaneWorld) -> None:
    """Its agent has the deploy, and has not started it when it lists what runs."""
    old = agent(world.worker("gpu"))
    deployment_id = world.deploy(gpus=0)
    assert old.types() == ["deploy"]
    world.pass_(100)
    token = str(tokens.create_token(r.NewRegistrationToken(takeover=True), ADMIN, world.now).token)
    for calls in range(40):
        with world.database.killed_after(calls), pytest.raises(Killed):
            world.worker("gpu", token=token, system_info={"hostname": "another"})
        if world.see(deployment_id).status == "error":
            break
    intents.delete(deployment_id, ADMIN, world.now)
    assert old.types() == ["stop"]
