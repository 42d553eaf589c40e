"""What is stored against what a worker lists: one heartbeat concludes nothing, and nothing is left to chance."""

from __future__ import annotations

import string
from contextlib import suppress
from random import Random

import msgspec
import pytest

from chalicelib import deployments, fleet, look, slots, tokens, workers
from chalicelib.contract import messages as m
from chalicelib.contract import resources as r
from chalicelib.store import find
from chalicelib.tables import Cold, Deployment, Hot, Seen
from tests.fixtures.database import Killed
from tests.fixtures.plane_world import ADMIN, PlaneWorld, Worker


def test_what_is_missing_from_two_beats_25_seconds_apart_is_container_lost(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    worker.beat()
    worker.active = []
    worker.beat()
    world.pass_(look.ODD_FOR - 1)
    worker.beat()
    assert world.see(deployment_id).status == "running"
    world.pass_(1)
    worker.beat()
    seen = world.see(deployment_id)
    assert (seen.status, seen.error_code) == ("error", "CONTAINER_LOST")
    assert workers.get(worker.id, world.now).gpu_claims == {}


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
    assert workers.get(worker.id, world.now).orphans == ["somebody-elses"]
    worker.active = []
    worker.beat()
    assert workers.get(worker.id, world.now).orphans == []


def test_a_deleted_deployments_stop_stays_until_absence_is_shown(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    worker.beat()
    worker.report(deployment_id, "error", error_code="CONTAINER_FAILED")
    deployments.delete(deployment_id, ADMIN, world.now)
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
    workers.patch(worker.id, r.WorkerPatch(draining=True), ADMIN, world.now)
    world.start(deployment_id)
    (stop,) = worker.beat().commands
    workers.patch(worker.id, r.WorkerPatch(draining=False), ADMIN, world.now)
    (deploy,) = worker.beat().commands
    assert isinstance(stop, m.Stop) and isinstance(deploy, m.Deploy)
    assert stop.generation < deploy.generation


def test_a_stop_of_what_moved_away_outlives_a_disk_that_is_lost_after_its_ack(world: PlaneWorld) -> None:
    """The list in the beat with the ack was older than the container; the stop must not be forgotten with that beat."""
    here, there = world.worker("here"), world.worker("there")
    here.journal_id = "before"
    deployment_id = world.deploy(worker_id=here.id)
    here.beat()
    deployments.patch(deployment_id, r.DeploymentPatch(worker_id=there.id), ADMIN, world.now)
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
    assert workers.get(worker.id, world.now).gpu_claims == {"0": deployment_id}
    worker.report(deployment_id, "starting")
    world.restart(deployment_id)
    assert worker.types() == ["stop"], "the new one is not deployed over"


def test_a_heartbeat_brings_as_many_commands_as_it_may_and_the_next_the_rest(world: PlaneWorld) -> None:
    worker = world.worker()
    asked = {world.ask(worker, "pull_image", image=f"a:{n}") for n in range(look.MAX_COMMANDS + 3)}
    first = {command.command_id for command in worker.beat().commands}
    assert len(first) == look.MAX_COMMANDS and first < asked
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
    assert look.turns(Hot("w", drains=drains), body) is turns


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
    world.pass_(look.ODD_FOR)
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
    shown = workers.get(worker.id, world.now)
    assert 10 < len(shown.orphans) < len(unknown)
    kept = workers.last_images(worker.id, world.now)
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
    workers.lose(worker.id, ADMIN, world.now)
    new = world.deploy(gpus=1, worker_id=worker.id) if pinned else world.deploy(gpus=1)
    assert world.see(new).worker_id is None
    worker.active = []
    assert beats(worker, world) == [("Deploy", new)]
    assert fleet.get(worker.id).claims == {"0": new}


@pytest.mark.parametrize("journal_id", [None, "j"])
def test_what_was_lost_and_comes_back_keeps_its_gpu(world: PlaneWorld, journal_id: str | None) -> None:
    worker = world.worker(gpus=1, journal_id=journal_id)
    old = world.deploy(gpus=1)
    worker.run(old)
    world.pass_(200)
    workers.lose(worker.id, ADMIN, world.now)
    new = world.deploy(gpus=1, worker_id=worker.id)
    assert ("Deploy", new) not in beats(worker, world)
    if journal_id:  # an agent is asked, and reports it again
        worker.report(old, "running", session=worker.answer.session, sequence=99, generation=world.see(old).generation)
    assert (world.see(old).status, world.see(new).worker_id) == ("running", None)
    assert fleet.get(worker.id).claims == {"0": old}


def test_what_was_lost_and_is_then_stopped_holds_its_gpu_until_the_stop_is_answered(world: PlaneWorld) -> None:
    worker = world.worker(gpus=1)
    old = world.deploy(gpus=1)
    worker.run(old)
    world.pass_(200)
    workers.lose(worker.id, ADMIN, world.now)
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
    workers.lose(worker.id, ADMIN, world.now)
    deployments.delete(old, ADMIN, world.now)
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
    assert fleet.get(successor.id).claims == {"0": old}
    assert beats(successor, world, 2) == [("Deploy", new)]


def test_a_running_deployment_takes_its_gpu_back_from_one_that_was_never_sent(world: PlaneWorld) -> None:
    """As after an older database was restored: a report says that something runs where nobody was."""
    worker = world.worker(gpus=1, journal_id="j")
    old = world.deploy(gpus=1)
    worker.run(old)
    fleet.get(worker.id).cold.update(actions=[Cold.claims.set("{}")])
    new = world.deploy(gpus=1)
    assert fleet.get(worker.id).claims == {"0": new}
    assert worker.types() == []
    assert (world.see(new).worker_id, fleet.get(worker.id).claims) == (None, {"0": old})
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
    world.pass_(look.ODD_FOR)
    assert worker.types() == ["deploy"]
    worker.report(deployment_id, "running", container_id="c1", port=8001)
    world.pass_(2 * look.ODD_FOR)
    assert worker.types() == []
    assert world.see(deployment_id).status == "running"
