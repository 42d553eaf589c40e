"""What a worker reports of a deployment: what is news, what the lifecycle refuses, and what follows."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib import deployments, reports, slots, workers
from chalicelib.contract import messages as m
from chalicelib.contract.errors import ApiError
from tests.fixtures.plane_world import ADMIN, PlaneWorld, Worker, lines


@pytest.fixture
def worker(world: PlaneWorld) -> Worker:
    return world.worker()


@pytest.mark.parametrize(
    ("reached", "refused"),
    [
        (["running"], "downloading"),
        (["running", "stopped"], "running"),
        (["running", "stopping"], "running"),
        (["error"], "running"),
        (["starting", "error"], "stopping"),
    ],
)
def test_the_store_refuses_an_illegal_move_and_names_both_states(
    world: PlaneWorld, reached: list[str], refused: str
) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.beat()
    for status in reached:
        assert worker.report(deployment_id, status).applied
    with pytest.raises(ApiError, match=f"{reached[-1]} → {refused}") as caught:
        worker.report(deployment_id, refused)
    assert caught.value.error_code == "ILLEGAL_TRANSITION"
    assert world.see(deployment_id).status == reached[-1]


def test_the_same_status_again_changes_nothing(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    assert not worker.report(deployment_id, "running").applied


def test_running_to_starting_is_a_restart_by_the_agent(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    worker.report(deployment_id, "starting", restarts=1, error_code="CONTAINER_FAILED", logs="the reason")
    seen = world.see(deployment_id)
    assert (seen.status, seen.restarts) == ("starting", 1)
    assert seen.last_crash is not None and seen.last_crash.logs == "the reason"


def test_a_crash_while_starting_is_kept_although_the_status_is_the_same(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.beat()
    worker.report(deployment_id, "starting")
    again = {"restarts": 1, "error_code": "CONTAINER_FAILED", "message": "it ended with 2", "logs": "the reason"}
    assert worker.report(deployment_id, "starting", **again).applied
    seen = world.see(deployment_id)
    assert (seen.status, seen.restarts, seen.message) == ("starting", 1, "it ended with 2")
    assert seen.last_crash is not None and seen.last_crash.logs == "the reason"


def agent_with(world: PlaneWorld, worker: Worker) -> tuple[str, dict[str, Any]]:
    """A deployment that an agent was sent, and the order of its reports without a sequence."""
    worker.journal_id = "journal"
    deployment_id = world.deploy()
    assert worker.types() == ["deploy"]
    return deployment_id, {"generation": world.see(deployment_id).generation, "session": worker.answer.session}


def test_a_deployment_that_was_never_this_workers_is_not_found(world: PlaneWorld, worker: Worker) -> None:
    other = world.worker("other")
    deployment_id = world.deploy(worker_id=worker.id)
    for reporter, named in ((other, deployment_id), (worker, "nothing")):
        with pytest.raises(ApiError) as caught:
            reporter.report(named, "running")
        assert caught.value.error_code == "DEPLOYMENT_NOT_FOUND"
    assert world.see(deployment_id).status == "pending"


@pytest.mark.parametrize("sequence", [6, 7])
def test_a_report_that_is_not_newer_changes_nothing(world: PlaneWorld, worker: Worker, sequence: int) -> None:
    deployment_id, order = agent_with(world, worker)
    assert worker.report(deployment_id, "running", **order, sequence=7).applied
    late = worker.report(deployment_id, "error", error_code="X", **order, sequence=sequence)
    assert (late.applied, late.status) == (False, "running")
    assert world.see(deployment_id).last_crash is None


def test_a_later_session_starts_its_sequence_anew(world: PlaneWorld, worker: Worker) -> None:
    deployment_id, order = agent_with(world, worker)
    worker.report(deployment_id, "starting", **order, sequence=900)
    later = order | {"session": order["session"] + 1}
    assert worker.report(deployment_id, "running", **later, sequence=1).applied
    assert not worker.report(deployment_id, "starting", **order, sequence=901).applied
    assert world.see(deployment_id).status == "running"


def test_a_report_of_an_older_generation_changes_nothing_but_its_receipt(world: PlaneWorld, worker: Worker) -> None:
    deployment_id, order = agent_with(world, worker)
    worker.report(deployment_id, "running", **order, sequence=1)
    world.restart(deployment_id)
    assert not worker.report(deployment_id, "stopped", **order, sequence=2).applied
    seen = world.see(deployment_id)
    assert (seen.status, seen.generation > order["generation"]) == ("pending", True)


def test_a_report_ahead_of_a_restored_database_raises_the_generation(world: PlaneWorld, worker: Worker) -> None:
    deployment_id, order = agent_with(world, worker)
    ahead = order["generation"] + 1000
    assert worker.report(deployment_id, "running", **order | {"generation": ahead}, sequence=1).applied
    assert world.see(deployment_id).generation == ahead


def test_what_a_report_does_not_mention_stays(world: PlaneWorld, worker: Worker) -> None:
    deployment_id, order = agent_with(world, worker)
    worker.report(deployment_id, "running", **order, sequence=1, container_id="c1", port=8001, restarts=2)
    worker.report(deployment_id, "stopping", **order, sequence=2)
    seen = world.see(deployment_id)
    assert (seen.container_id, seen.port, seen.restarts) == ("c1", 8001, 2)


def test_progress_is_gone_with_the_status_that_it_was_of(world: PlaneWorld, worker: Worker) -> None:
    deployment_id, order = agent_with(world, worker)
    progress = {"phase": "pulling", "current": 5, "total": 10}
    worker.report(deployment_id, "downloading", **order, sequence=1, progress=progress)
    assert world.see(deployment_id).progress == m.Progress("pulling", 5, 10)
    worker.report(deployment_id, "starting", **order, sequence=2)
    assert world.see(deployment_id).progress is None


def test_a_crash_keeps_the_end_of_its_log(world: PlaneWorld, worker: Worker) -> None:
    deployment_id, order = agent_with(world, worker)
    logs = "é" * reports.MAX_LOGS + "the end"
    worker.report(deployment_id, "error", **order, sequence=1, logs=logs)
    crash = world.see(deployment_id).last_crash
    assert crash is not None and crash.error_code == "CONTAINER_FAILED"
    assert logs.endswith(crash.logs) and crash.logs.endswith("the end")
    assert reports.MAX_LOGS - 2 < len(crash.logs.encode()) <= reports.MAX_LOGS


@pytest.mark.parametrize(
    ("proposed", "kept"),
    [
        (m.Fix({"max_model_len": 4096, "port": 22}, 4), m.Fix({"max_model_len": 4096}, 4)),
        (m.Fix({"gpu_memory_utilization": "0.5 --x"}, 10**9), None),
        (m.Fix({"tensor_parallel_size": True}), None),
        (m.Fix({"gpu_memory_utilization": 0.5}, 65), m.Fix({"gpu_memory_utilization": 0.5})),
        (None, None),
    ],
)
def test_of_a_proposed_fix_only_flags_that_fit_a_model_to_a_gpu_are_kept(
    proposed: m.Fix | None, kept: m.Fix | None
) -> None:
    assert reports._harmless(proposed) == kept


@pytest.mark.parametrize("status", ["stopped", "error"])
def test_what_is_over_frees_its_gpus_for_what_waits(world: PlaneWorld, status: str) -> None:
    worker = world.worker("one", gpus=1)
    first, second = world.deploy(), world.deploy()
    worker.run(first)
    worker.report(first, status)
    assert workers.get(worker.id, world.now).gpu_claims == {"0": second}


def test_a_report_of_a_deleted_deployment_settles_its_stop(world: PlaneWorld, worker: Worker) -> None:
    deployment_id = world.deploy()
    worker.run(deployment_id)
    worker.beat()
    worker.report(deployment_id, "error", error_code="X")
    deployments.delete(deployment_id, ADMIN, world.now)
    assert worker.types() == ["stop"]
    applied = worker.report(deployment_id, "stopped")
    assert (applied.applied, applied.status) == (False, "stopped")
    slot = slots.get(worker.id, deployment_id)
    assert slot is not None and (slot.settled_at, slot.holds) == (world.now, False)


# What the control plane only concluded


def lost(world: PlaneWorld, worker: Worker) -> tuple[str, dict[str, Any]]:
    """A deployment that ran, and counts as lost after a day of silence."""
    deployment_id, order = agent_with(world, worker)
    worker.report(deployment_id, "running", **order, sequence=1)
    world.pass_(86401)
    world.sweep()
    assert world.see(deployment_id).error_code == "WORKER_LOST"
    return deployment_id, order


def test_an_error_that_the_worker_reports_replaces_one_that_was_concluded(world: PlaneWorld, worker: Worker) -> None:
    deployment_id, order = lost(world, worker)
    again = {"error_code": "CONTAINER_FAILED", "message": "exit code 1", "logs": "the reason"}
    assert worker.report(deployment_id, "error", **order, sequence=2, **again).applied
    seen = world.see(deployment_id)
    assert (seen.status, seen.error_code, seen.message) == ("error", "CONTAINER_FAILED", "exit code 1")
    assert seen.last_crash is not None and (seen.last_crash.error_code, seen.last_crash.logs) == (
        "CONTAINER_FAILED",
        "the reason",
    )
    assert [each.message for each in lines(world, deployment_id)][-1] == "CONTAINER_FAILED: exit code 1"
    with pytest.raises(ApiError, match="CONTAINER_FAILED"):
        worker.report(deployment_id, "running", **order, sequence=3)


@pytest.mark.parametrize("code", ["WORKER_LOST", "CONTAINER_LOST", "WORKER_REMOVED"])
def test_an_error_without_a_code_replaces_what_was_concluded_too(world: PlaneWorld, worker: Worker, code: str) -> None:
    deployment_id, order = agent_with(world, worker)
    worker.report(deployment_id, "running", **order, sequence=1)
    deployments.lose(deployment_id, worker.id, code, "why", world.now)
    assert worker.report(deployment_id, "error", message="it ended").applied
    seen = world.see(deployment_id)
    assert (seen.status, seen.error_code, seen.message) == ("error", None, "it ended")


def test_what_follows_from_an_end_follows_where_it_was_concluded_before(world: PlaneWorld, worker: Worker) -> None:
    deployment_id, order = lost(world, worker)
    slot = slots.get(worker.id, deployment_id)
    assert slot is not None and slot.may_live
    worker.beat()
    waiting = world.deploy(gpus=worker.gpus)
    worker.report(deployment_id, "error", **order, sequence=2, error_code="CONTAINER_FAILED")
    slot = slots.get(worker.id, deployment_id)
    assert slot is not None and (slot.may_live, slot.holds) == (False, False)
    assert set(workers.get(worker.id, world.now).gpu_claims.values()) == {waiting}


# The same crash, reported twice


@pytest.mark.parametrize("status", ["error", "starting"])
def test_a_crash_whose_log_arrives_later_is_one_crash(world: PlaneWorld, worker: Worker, status: str) -> None:
    deployment_id, order = agent_with(world, worker)
    worker.report(deployment_id, "running", **order, sequence=1)
    crash = {"error_code": "CONTAINER_FAILED", "restarts": 1, **order}
    assert worker.report(deployment_id, status, **crash, sequence=2).applied
    first = world.see(deployment_id).last_crash
    told = len(lines(world, deployment_id))
    world.pass_(60)
    assert worker.report(deployment_id, status, **crash, sequence=3, message="exit code 1", logs="the reason").applied
    seen = world.see(deployment_id)
    assert seen.last_crash is not None and first is not None
    assert (seen.last_crash.logs, seen.last_crash.at, seen.message) == ("the reason", first.at, "exit code 1")
    assert len(lines(world, deployment_id)) == told


def test_the_next_crash_is_another_one(world: PlaneWorld, worker: Worker) -> None:
    deployment_id, order = agent_with(world, worker)
    for count in (1, 2):
        world.pass_(60)
        crash = {"error_code": "CONTAINER_FAILED", "restarts": count, "message": "m", **order}
        worker.report(deployment_id, "starting", **crash, sequence=count)
    last = world.see(deployment_id).last_crash
    assert last is not None and last.at.timestamp() == world.now
    told = [each.message for each in lines(world, deployment_id)]
    assert told.count("CONTAINER_FAILED: m") == 2
