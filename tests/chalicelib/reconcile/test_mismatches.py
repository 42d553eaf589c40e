"""What is stored against what a worker lists: one heartbeat concludes nothing, and a mismatch that lasts does."""

from __future__ import annotations

import pytest

from chalicelib.deployments import intents, serving
from chalicelib.fleet import workers
from chalicelib.reconcile import mismatches
from chalicelib.store import slots
from chalicelib.workers import admin
from muster.api import messages as m
from tests.fixtures.plane_world import ADMIN, PlaneWorld, Worker
from tests.fixtures.reconciling import agent, run, tell


def test_what_is_missing_from_two_beats_25_seconds_apart_is_container_lost(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    worker.beat()
    worker.active = []
    worker.beat()
    world.pass_(mismatches.MISMATCH_SECONDS - 1)
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
    world.pass_(mismatches.MISMATCH_SECONDS)
    worker.beat()
    assert world.see(deployment_id).error_code == "CONTAINER_LOST"


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


def test_a_basic_client_that_lists_what_it_has_not_reported_is_sent_the_deploy_again(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    assert worker.types() == ["deploy"]
    worker.active = [deployment_id]  # its report was lost, as one made before its session counted
    world.pass_(5)
    assert worker.types() == [], "one contradiction may be news on its way"
    world.pass_(mismatches.MISMATCH_SECONDS)
    assert worker.types() == ["deploy"]
    worker.report(deployment_id, "running", container_id="c1", port=8001)
    world.pass_(2 * mismatches.MISMATCH_SECONDS)
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


def test_what_an_agent_runs_although_it_was_thought_lost_is_asked_for_again(world: PlaneWorld) -> None:
    worker = agent(world)
    deployment_id = run(world, worker)
    world.pass_(200)
    admin.lose(worker.id, ADMIN, world.now)
    assert worker.types() == []
    world.pass_(mismatches.MISMATCH_SECONDS)
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
        world.pass_(mismatches.MISMATCH_SECONDS - 1)
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
    world.pass_(mismatches.MISMATCH_SECONDS)
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
        world.pass_(mismatches.MISMATCH_SECONDS)
    assert world.see(deployment_id).status == status


def test_what_should_stop_while_it_starts_and_is_not_listed_has_stopped(world: PlaneWorld) -> None:
    worker = agent(world)
    deployment_id = world.deploy()
    worker.beat()
    tell(world, worker, deployment_id, "starting")
    world.stop(deployment_id)
    assert worker.types() == ["stop"]
    worker.beat()
    world.pass_(mismatches.MISMATCH_SECONDS - 1)
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
        world.pass_(mismatches.MISMATCH_SECONDS)
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


@pytest.mark.parametrize(("is_over", "seconds"), [(True, 0.0), (False, mismatches.MISMATCH_SECONDS)])
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
    for seconds, kept in ((mismatches.MISMATCH_SECONDS - 1, True), (1, False)):
        world.pass_(seconds)
        worker.beat(acks=["any"])
        assert (slots.get(worker.id, deployment_id) is not None) is kept
