"""What a worker reports of a deployment: what is news, what the lifecycle refuses, and what follows."""

from __future__ import annotations

import functools
from contextlib import suppress
from typing import Any

import pytest

from chalicelib.deployments import intents, losses, serving
from chalicelib.deployments.losses import Loss
from chalicelib.fleet import workers
from chalicelib.reconcile import reports
from chalicelib.store import slots
from chalicelib.store.tables import Slot, WorkerRecord
from chalicelib.workers import admin
from muster.api import messages as m
from muster.api import resources as r
from muster.api.errors import ApiError
from muster.diagnostics.lines import read
from muster.diagnostics.rules import every_rule
from tests.fixtures.database import Killed
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
    before = world.see(deployment_id)
    assert not worker.report(deployment_id, "running", message="again").applied
    assert world.see(deployment_id).message == before.message


def test_running_to_starting_is_a_restart_by_the_agent(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    world.pass_(5)
    worker.report(deployment_id, "starting", restarts=1, error_code="CONTAINER_FAILED", logs="the reason")
    seen = world.see(deployment_id)
    assert (seen.status, seen.restarts, seen.updated_at.timestamp()) == ("starting", 1, world.now)
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


@pytest.mark.parametrize("calls", range(3))
def test_a_report_that_a_later_one_overtakes_changes_nothing(world: PlaneWorld, worker: Worker, calls: int) -> None:
    deployment_id, order = agent_with(world, worker)
    later = functools.partial(worker.report, deployment_id, "running", **order, sequence=2)
    with world.database.overtaken_after(calls, later):
        worker.report(deployment_id, "starting", **order, sequence=1)
        assert world.database.overtake is None
    assert world.see(deployment_id).status == "running"


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
    worker.report(deployment_id, "downloading", **order, sequence=1, progress=progress, message="pulls")
    worker.report(deployment_id, "downloading", **order, sequence=2, progress=progress | {"current": 6})
    seen = world.see(deployment_id)
    assert (seen.progress, seen.message) == (m.Progress("pulling", 6, 10), "pulls")
    worker.report(deployment_id, "starting", **order, sequence=3)
    assert world.see(deployment_id).progress is None


def test_a_long_container_id_is_cut(world: PlaneWorld, worker: Worker) -> None:
    deployment_id, order = agent_with(world, worker)
    worker.report(deployment_id, "running", **order, sequence=1, container_id="c" * 1000)
    assert len(world.see(deployment_id).container_id or "") == 256


def test_a_log_that_is_no_utf_8_is_kept(world: PlaneWorld, worker: Worker) -> None:
    deployment_id, order = agent_with(world, worker)
    worker.report(deployment_id, "error", **order, sequence=1, logs="before \udce9 after")
    crash = world.see(deployment_id).last_crash
    assert crash is not None and crash.logs == "before ? after"


def test_a_crash_keeps_the_end_of_its_log(world: PlaneWorld, worker: Worker) -> None:
    deployment_id, order = agent_with(world, worker)
    logs = "é" * 64 * 1024 + "the end"
    worker.report(deployment_id, "error", **order, sequence=1, logs=logs)
    crash = world.see(deployment_id).last_crash
    assert crash is not None and crash.error_code == "CONTAINER_FAILED"
    assert logs.endswith(crash.logs) and crash.logs.endswith("the end")
    assert 64 * 1024 - 2 < len(crash.logs.encode()) <= 64 * 1024


@pytest.mark.parametrize(
    ("proposed", "kept"),
    [
        (m.Fix({"max_model_len": 4096, "port": 22}, 4), m.Fix({"max_model_len": 4096}, 4)),
        (m.Fix({"gpu_memory_utilization": "0.5 --x"}, 10**9), None),
        (m.Fix({"tensor_parallel_size": True}), None),
        (m.Fix({"tensor_parallel_size": 2}, 64), m.Fix({"tensor_parallel_size": 2}, 64)),
        (m.Fix({"gpu_memory_utilization": 0.5}, 65), m.Fix({"gpu_memory_utilization": 0.5})),
        (m.Fix({"max_num_seqs": 8, "dtype": "half"}), m.Fix({"max_num_seqs": 8, "dtype": "half"})),
        (m.Fix({"dtype": "half; rm"}), None),
        (m.Fix({"dtype": "x" * 41}), None),
        (m.Fix(env={"NCCL_P2P_DISABLE": "1", "LD_PRELOAD": "/x"}), m.Fix(env={"NCCL_P2P_DISABLE": "1"})),
        (m.Fix(env={"NCCL_P2P_DISABLE": "$(id)"}), None),
        (None, None),
    ],
)
def test_of_a_proposed_fix_only_what_fits_a_model_to_its_host_is_kept(
    proposed: m.Fix | None, kept: m.Fix | None
) -> None:
    assert reports._harmless(proposed) == kept


def test_every_fix_of_the_table_of_causes_is_kept() -> None:
    fixes = [
        rule.advise(match).fix
        for rule in every_rule()
        for example in rule.row.examples
        for line in read(example)
        if (match := rule.search(line.text))
    ]
    assert len([each for each in fixes if each]) > 10
    assert [each for each in fixes if each != reports._harmless(each)] == []


@pytest.mark.parametrize("status", ["stopped", "error"])
def test_what_is_over_frees_its_gpus(world: PlaneWorld, status: str) -> None:
    worker = world.worker("one", gpus=1)
    deployment_id = world.deploy()
    worker.run(deployment_id)
    assert admin.get(worker.id, world.now).gpu_claims == {"0": deployment_id}
    worker.report(deployment_id, status)
    assert admin.get(worker.id, world.now).gpu_claims == {}


@pytest.mark.parametrize("status", ["stopped", "error"])
def test_what_is_over_frees_its_gpus_for_what_waits(world: PlaneWorld, status: str) -> None:
    worker = world.worker("one", gpus=1)
    first, second = world.deploy(), world.deploy()
    worker.run(first)
    worker.report(first, status)
    assert admin.get(worker.id, world.now).gpu_claims == {"0": second}


def test_a_report_of_a_deleted_deployment_settles_its_stop(world: PlaneWorld, worker: Worker) -> None:
    deployment_id = world.deploy()
    worker.run(deployment_id)
    worker.beat()
    worker.report(deployment_id, "error", error_code="X")
    intents.delete(deployment_id, ADMIN, world.now)
    assert worker.types() == ["stop"]
    applied = worker.report(deployment_id, "stopped")
    assert (applied.applied, applied.status) == (False, "stopped")
    slot = slots.get(worker.id, deployment_id)
    assert slot is not None and (slot.settled_at, slot.holds_gpus) == (world.now, False)


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
    losses.mark_lost(deployment_id, Loss(worker.id, code, "why"), world.now)
    assert worker.report(deployment_id, "error", message="it ended").applied
    seen = world.see(deployment_id)
    assert (seen.status, seen.error_code, seen.message) == ("error", None, "it ended")


def test_what_follows_from_an_end_follows_where_it_was_concluded_before(world: PlaneWorld, worker: Worker) -> None:
    deployment_id, order = lost(world, worker)
    slot = slots.get(worker.id, deployment_id)
    assert slot is not None and slot.may_be_running
    worker.beat()
    waiting = world.deploy(gpus=worker.gpus)
    worker.report(deployment_id, "error", **order, sequence=2, error_code="CONTAINER_FAILED")
    slot = slots.get(worker.id, deployment_id)
    assert slot is not None and (slot.may_be_running, slot.holds_gpus) == (False, False)
    assert set(admin.get(worker.id, world.now).gpu_claims.values()) == {waiting}


@pytest.mark.parametrize("calls", range(8))
@pytest.mark.parametrize("knows_generations", [True, False])
def test_what_follows_from_an_end_follows_when_it_is_reported_again_after_its_function_was_killed(
    world: PlaneWorld, worker: Worker, calls: int, knows_generations: bool
) -> None:
    deployment_id, order = stopping(world, worker)
    more = order | {"sequence": 3} if knows_generations else {}
    with suppress(Killed), world.database.killed_after(calls):
        worker.report(deployment_id, "stopped", **more)
    worker.report(deployment_id, "stopped", **more)
    slot = slots.get(worker.id, deployment_id)
    assert slot is not None and (slot.may_be_running, slot.holds_gpus) == (False, False)
    assert world.see(world.deploy("next", gpus=worker.gpus)).worker_id == worker.id, "its GPUs are free"


@pytest.mark.parametrize("calls", range(8))
def test_what_was_thought_gone_holds_its_gpus_when_it_is_reported_again_after_its_function_was_killed(
    world: PlaneWorld, worker: Worker, calls: int
) -> None:
    deployment_id, order = lost(world, worker)
    slot = slots.get(worker.id, deployment_id)
    assert slot is not None
    reports.over(slot, world.now)
    with suppress(Killed), world.database.killed_after(calls):
        worker.report(deployment_id, "running", **order, sequence=3)
    worker.report(deployment_id, "running", **order, sequence=3)
    assert set(admin.get(worker.id, world.now).gpu_claims.values()) == {deployment_id}


@pytest.mark.parametrize("code", ["WORKER_LOST", "CONTAINER_LOST", "WORKER_REMOVED"])
def test_what_was_lost_while_it_stopped_is_stopped_and_free_when_its_worker_reports_so(
    world: PlaneWorld, worker: Worker, code: str
) -> None:
    deployment_id, order = stopping(world, worker)
    losses.mark_lost(deployment_id, Loss(worker.id, code, "why"), world.now)
    assert worker.report(deployment_id, "stopped", **order, sequence=3).applied
    seen = world.see(deployment_id)
    assert (seen.status, seen.error_code, seen.message) == ("stopped", None, None)
    assert admin.get(worker.id, world.now).gpu_claims == {}


def stopping(world: PlaneWorld, worker: Worker) -> tuple[str, dict[str, Any]]:
    """A deployment whose stop has begun."""
    deployment_id, order = agent_with(world, worker)
    worker.report(deployment_id, "running", **order, sequence=1)
    world.pass_(1)
    world.stop(deployment_id)
    worker.active = [deployment_id]
    [stop] = worker.beat().commands
    assert isinstance(stop, m.Stop)
    order = {**order, "generation": stop.generation}
    assert worker.report(deployment_id, "stopping", **order, sequence=2).applied
    return deployment_id, order


def test_what_was_lost_while_it_stopped_is_free_when_its_worker_no_longer_lists_it(
    world: PlaneWorld, worker: Worker
) -> None:
    deployment_id, _ = stopping(world, worker)
    losses.mark_lost(deployment_id, Loss(worker.id, "WORKER_LOST", "why"), world.now)
    assert set(admin.get(worker.id, world.now).gpu_claims.values()) == {deployment_id}
    worker.active = []
    for _ in range(2):
        assert admin.get(worker.id, world.now).gpu_claims, "one list may be older than the container"
        worker.beat()
        world.pass_(25)
    assert admin.get(worker.id, world.now).gpu_claims == {}


# The same crash, reported twice


@pytest.mark.parametrize(
    ("before", "status"), [("running", "error"), ("running", "starting"), ("starting", "starting")]
)
def test_a_crash_whose_log_arrives_later_is_one_crash(
    world: PlaneWorld, worker: Worker, before: str, status: str
) -> None:
    deployment_id, order = agent_with(world, worker)
    worker.report(deployment_id, before, **order, sequence=1)
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


# Numbers: generation, session, and sequence


def slot_of(worker: Worker, deployment_id: str) -> Slot:
    slot = slots.get(worker.id, deployment_id)
    assert slot is not None
    return slot


@pytest.mark.parametrize("field", ["generation", "session"])
def test_a_number_from_the_future_is_refused_by_its_name(world: PlaneWorld, worker: Worker, field: str) -> None:
    deployment_id, order = agent_with(world, worker)
    ahead = order | {field: int(world.now * 1000) + 300_001}
    with pytest.raises(ApiError, match=f"^{field}: ") as caught:
        worker.report(deployment_id, "running", **ahead, sequence=1)
    assert caught.value.error_code == "INVALID_REQUEST"
    assert world.see(deployment_id).status == "pending"


def test_a_session_ahead_of_a_restored_database_is_below_the_next_one(world: PlaneWorld) -> None:
    worker = world.worker(boot_id="a")
    deployment_id, order = agent_with(world, worker)
    ahead = order["session"] + 250_000
    assert worker.report(deployment_id, "running", **order | {"session": ahead}, sequence=1).applied
    worker.register(boot_id="b")
    assert worker.answer.session > ahead


def test_a_report_without_a_sequence_is_judged_by_the_lifecycle_and_keeps_the_order(
    world: PlaneWorld, worker: Worker
) -> None:
    deployment_id, order = agent_with(world, worker)
    worker.report(deployment_id, "starting", **order, sequence=5)
    assert worker.report(deployment_id, "running", **order).applied
    assert not worker.report(deployment_id, "starting", **order, sequence=4).applied
    assert world.see(deployment_id).status == "running"


def test_a_newer_generation_without_a_sequence_begins_a_new_order(world: PlaneWorld, worker: Worker) -> None:
    deployment_id, order = agent_with(world, worker)
    worker.report(deployment_id, "starting", **order, sequence=900)
    newer = order | {"generation": order["generation"] + 1000}
    assert worker.report(deployment_id, "starting", **newer).applied
    assert worker.report(deployment_id, "running", **newer, sequence=1).applied


@pytest.mark.parametrize(
    ("stored", "reported", "may"),
    [
        ("stopped", "running", True),
        ("stopped", "stopped", True),
        ("error", "pending", True),
        ("stopping", "starting", True),
        ("running", "running", True),
        ("running", "downloading", False),
    ],
)
def test_a_newer_generation_of_what_ended_starts_from_pending(
    world: PlaneWorld, worker: Worker, stored: str, reported: str, may: bool
) -> None:
    deployment_id, order = agent_with(world, worker)
    worker.report(deployment_id, stored, **order, sequence=1)
    newer = order | {"generation": order["generation"] + 1000, "sequence": 2}
    if may:
        assert worker.report(deployment_id, reported, **newer).applied
    else:
        with pytest.raises(ApiError, match=f"{stored} → {reported}"):
            worker.report(deployment_id, reported, **newer)
    assert world.see(deployment_id).status == (reported if may else stored)


@pytest.mark.parametrize("calls", range(4))
def test_a_report_that_an_operator_overtakes_is_taken_beside_the_change(
    world: PlaneWorld, worker: Worker, calls: int
) -> None:
    deployment_id, order = agent_with(world, worker)
    world.pass_(5)
    with world.database.overtaken_after(calls, lambda: world.stop(deployment_id)):
        assert worker.report(deployment_id, "starting", **order, sequence=1).applied
    seen = world.see(deployment_id)
    assert (seen.status, seen.desired, seen.updated_at.timestamp()) == ("starting", "stopped", world.now)


# Receipts


@pytest.mark.parametrize(
    ("intent", "reported", "settles"),
    [
        ("deploy", "pending", False),
        ("deploy", "downloading", True),
        ("deploy", "starting", True),
        ("deploy", "running", True),
        ("deploy", "error", True),
        ("deploy", "stopped", False),
        ("stop", "running", False),
        ("stop", "stopping", True),
        ("stop", "stopped", True),
        ("stop", "error", True),
    ],
)
def test_a_basic_client_shows_with_an_answer_alone_that_it_has_an_intent(
    world: PlaneWorld, worker: Worker, intent: str, reported: str, settles: bool
) -> None:
    deployment_id = world.deploy()
    if intent == "stop":
        worker.run(deployment_id)
        worker.beat()
        world.stop(deployment_id)
    worker.beat()
    worker.report(deployment_id, reported)
    slot = slot_of(worker, deployment_id)
    assert (slot.intent, slot.settled_at) == (intent, world.now if settles else None)


def test_a_report_with_the_generation_of_an_intent_is_its_receipt(world: PlaneWorld, worker: Worker) -> None:
    deployment_id, order = agent_with(world, worker)
    worker.report(deployment_id, "pending", **order, sequence=1)
    assert slot_of(worker, deployment_id).settled_at == world.now


def test_a_report_of_the_generation_before_is_no_receipt(world: PlaneWorld, worker: Worker) -> None:
    deployment_id, order = agent_with(world, worker)
    worker.report(deployment_id, "running", **order, sequence=1)
    world.stop(deployment_id)
    worker.beat()
    assert worker.report(deployment_id, "stopping", **order, sequence=2).applied
    assert slot_of(worker, deployment_id).settled_at is None


def test_what_a_basic_client_reports_before_it_is_told_to_stop_does_not_answer_the_stop(
    world: PlaneWorld, worker: Worker
) -> None:
    deployment_id = world.deploy()
    worker.run(deployment_id)
    world.stop(deployment_id)
    assert worker.report(deployment_id, "error").applied
    assert slot_of(worker, deployment_id).settled_at is None
    assert worker.types() == ["stop"]


# What holds the GPUs


def test_what_is_reported_to_run_has_its_gpus_although_their_claim_was_lost(world: PlaneWorld, worker: Worker) -> None:
    deployment_id, order = agent_with(world, worker)
    workers.get(worker.id).record.update(actions=[WorkerRecord.claims.set("{}")])
    worker.report(deployment_id, "starting", **order, sequence=1)
    assert workers.get(worker.id).claims == {}
    worker.report(deployment_id, "running", **order, sequence=2)
    assert workers.get(worker.id).claims == {"0": deployment_id}


# A basic client names no generation: which instance it means


def test_of_the_first_deploy_every_report_is_news(world: PlaneWorld, worker: Worker) -> None:
    unsent, sent = world.deploy(gpus=0), world.deploy(gpus=0)
    assert worker.report(unsent, "running").applied, "an older database was restored"
    assert worker.types() == ["deploy"]
    assert worker.report(sent, "stopped").applied


@pytest.mark.parametrize(("reported", "sent"), [("starting", ["stop"]), ("stopped", ["deploy"])])
def test_what_lives_where_no_deploy_was_sent_is_stopped_before_it_is_replaced(
    world: PlaneWorld, worker: Worker, reported: str, sent: list[str]
) -> None:
    """An older database was restored: the deploy that waits here is not the one that the client has."""
    deployment_id = world.deploy()
    world.stop(deployment_id)
    world.pass_(1)
    world.start(deployment_id)
    assert not worker.report(deployment_id, reported).applied
    assert worker.types() == sent
    assert world.see(deployment_id).status == "pending"


def test_a_deploy_that_waits_is_not_the_agents_whose_generation_is_newer(world: PlaneWorld, worker: Worker) -> None:
    worker.journal_id = "j"
    deployment_id = world.deploy()
    world.stop(deployment_id)
    world.pass_(1)
    world.start(deployment_id)
    ahead = world.see(deployment_id).generation + 1000
    order = {"generation": ahead, "session": worker.answer.session, "sequence": 1}
    assert worker.report(deployment_id, "running", **order).applied


def test_a_basic_client_that_ends_the_old_instance_is_told_once_and_then_sent_the_new_one(
    world: PlaneWorld, worker: Worker
) -> None:
    deployment_id = world.deploy()
    worker.run(deployment_id)
    world.restart(deployment_id)
    assert not worker.report(deployment_id, "stopping").applied
    assert worker.types() == ["stop"], "its report came before it was told"
    assert worker.types() == ["stop"], "the first one may have been lost"
    assert not worker.report(deployment_id, "starting").applied
    assert worker.types() == ["stop"], "it has not begun to stop"
    assert not worker.report(deployment_id, "stopping").applied
    assert worker.types() == []
    assert not worker.report(deployment_id, "stopped").applied
    assert admin.get(worker.id, world.now).gpu_claims == {"0": deployment_id}
    worker.active = []
    assert worker.types() == ["deploy"]
    for status in ("starting", "running", "stopping", "stopped"):
        assert worker.report(deployment_id, status).applied


def test_the_stopped_of_the_old_instance_is_not_that_of_the_new_one(world: PlaneWorld, worker: Worker) -> None:
    deployment_id = world.deploy()
    worker.run(deployment_id)
    world.restart(deployment_id)
    assert worker.types() == ["stop"]
    assert worker.types(active_deployments=[]) == ["deploy"]
    late = worker.report(deployment_id, "stopped")
    assert (late.applied, late.status) == (False, "pending")
    slot = slot_of(worker, deployment_id)
    assert slot.settled_at is None and slot.holds_gpus


# A worker that the deployment left


def moved(world: PlaneWorld, worker: Worker) -> tuple[str, dict[str, Any], Worker]:
    """A deployment that an agent runs and has to stop, since it goes to another worker."""
    deployment_id, order = agent_with(world, worker)
    worker.report(deployment_id, "running", **order, sequence=1, port=8001)
    worker.active = [deployment_id]
    there = world.worker("there")
    world.pass_(1)
    intents.patch(deployment_id, r.DeploymentPatch(worker_id=there.id), ADMIN, world.now)
    assert worker.types() == ["stop"]
    worker.beat()
    return deployment_id, order, there


def test_what_was_left_serves_until_its_end_is_reported(world: PlaneWorld, worker: Worker) -> None:
    deployment_id, order, there = moved(world, worker)
    assert worker.report(deployment_id, "running", **order, sequence=2).status == "pending"
    for status, serves in (("running", worker.id), ("stopped", None)):
        assert not worker.report(deployment_id, status, **order, sequence=3).applied
        found = serving.of(intents.load(deployment_id))
        assert (found and found.worker_id) == serves
    assert world.see(deployment_id).worker_id == there.id, "its old worker let go of it"


def test_what_a_basic_client_has_to_leave_serves_until_it_says_that_it_stopped(
    world: PlaneWorld, worker: Worker
) -> None:
    deployment_id = world.deploy()
    worker.run(deployment_id)
    there = world.worker("there")
    intents.patch(deployment_id, r.DeploymentPatch(worker_id=there.id), ADMIN, world.now)
    assert serving.of(intents.load(deployment_id)) is not None
    worker.report(deployment_id, "stopped")
    assert serving.of(intents.load(deployment_id)) is None


def test_what_serves_elsewhere_is_not_ended_by_the_worker_that_it_left(world: PlaneWorld, worker: Worker) -> None:
    deployment_id, order, there = moved(world, worker)
    worker.report(deployment_id, "stopped", **order, sequence=2)
    there.run(deployment_id)
    assert not worker.report(deployment_id, "stopped", **order, sequence=3).applied
    found = serving.of(intents.load(deployment_id))
    assert found is not None and found.worker_id == there.id


@pytest.mark.parametrize("late", [False, True])
def test_the_end_of_the_instance_before_is_the_end_of_what_serves(
    world: PlaneWorld, worker: Worker, late: bool
) -> None:
    """Unless it is late: then a newer report has said how it is."""
    deployment_id, order = agent_with(world, worker)
    worker.report(deployment_id, "running", **order, sequence=7, port=8001)
    if not late:
        world.restart(deployment_id)
    assert not worker.report(deployment_id, "stopped", **order, sequence=6 if late else 8).applied
    assert (intents.load(deployment_id).serving is not None) is late


@pytest.mark.parametrize(
    ("above_stop", "below_latest", "reported", "is_told_again"),
    [
        (0, None, "running", False),
        (1, None, "running", True),
        (1, None, "stopped", False),
        (None, 2, "running", True),
        (None, 1, "running", False),
    ],
)
def test_what_an_operator_moved_in_a_restored_database_is_stopped_where_it_runs_by_a_later_intent(
    world: PlaneWorld,
    worker: Worker,
    above_stop: int | None,
    below_latest: int | None,
    reported: str,
    is_told_again: bool,
) -> None:
    """It came back there after the backup, in a generation above the stop that is stored; then an operator spoke."""
    deployment_id, order, _there = moved(world, worker)
    world.pass_(1)
    world.restart(deployment_id)
    worker.active = []
    worker.beat()
    stop, latest = int(slot_of(worker, deployment_id).generation), world.see(deployment_id).generation
    generation = stop + above_stop if above_stop is not None else latest - (below_latest or 0)
    worker.report(deployment_id, reported, **order | {"generation": generation}, sequence=3)
    slot = slot_of(worker, deployment_id)
    assert slot.generation == (generation + 1 if is_told_again else stop)
    assert worker.types() == (["stop"] if is_told_again else [])


def test_the_stop_of_what_was_deleted_is_forgotten_with_the_beat_after_the_last_report(
    world: PlaneWorld, worker: Worker
) -> None:
    deployment_id, order = agent_with(world, worker)
    worker.report(deployment_id, "error", **order, sequence=1)
    slot_of(worker, deployment_id).update(actions=[Slot.may_be_running.set(True), Slot.holds_gpus.set(True)])
    intents.delete(deployment_id, ADMIN, world.now)
    assert worker.types() == ["stop"]
    worker.beat()
    worker.beat()
    assert slots.get(worker.id, deployment_id) is not None
    worker.report(deployment_id, "stopped", **order, sequence=2)
    worker.beat()
    assert slots.get(worker.id, deployment_id) is None


# A client that is kept aside


def test_the_report_of_a_client_that_is_kept_aside_changes_nothing(world: PlaneWorld, worker: Worker) -> None:
    deployment_id = world.deploy()
    worker.run(deployment_id)
    assert reports.ignored(worker.id, deployment_id, m.Report("error")) == m.Applied(False, "error")
    assert world.see(deployment_id).status == "running"
    with pytest.raises(ApiError) as caught:
        reports.ignored(worker.id, "nothing", m.Report("error"))
    assert caught.value.error_code == "DEPLOYMENT_NOT_FOUND"


# What follows from lists alone


def test_what_should_stop_and_is_not_listed_is_presumed_stopped(world: PlaneWorld, worker: Worker) -> None:
    deployment_id, order = agent_with(world, worker)
    worker.report(deployment_id, "running", **order, sequence=1, port=8001)
    reports.presumed_stopped(intents.load(deployment_id), world.now)
    seen = world.see(deployment_id)
    assert (seen.status, seen.message) == ("stopped", "its worker no longer lists it")
    assert intents.load(deployment_id).serving is None
    line = lines(world, deployment_id)[-1]
    assert (line.type, line.message, line.by) == ("stopped", seen.message, "control plane")


def test_what_was_thought_lost_and_is_listed_runs_serves_and_has_its_gpus(world: PlaneWorld, worker: Worker) -> None:
    deployment_id, order = agent_with(world, worker)
    worker.report(deployment_id, "running", **order, sequence=1, port=8001)
    losses.mark_lost(deployment_id, Loss(worker.id, "WORKER_LOST", "why"), world.now)
    slot = slot_of(worker, deployment_id)
    slot.holds_gpus = False
    slot.save()
    workers.get(worker.id).record.update(actions=[WorkerRecord.claims.set("{}")])
    reports.found_running(slot, intents.load(deployment_id), world.now)
    seen, stored = world.see(deployment_id), intents.load(deployment_id)
    assert (seen.status, seen.error_code, stored.serving is not None) == ("running", None, True)
    assert workers.get(worker.id).claims == {"0": deployment_id}
    assert lines(world, deployment_id)[-1].type == "running"


def test_what_is_concluded_from_a_list_gives_way_to_a_report(world: PlaneWorld, worker: Worker) -> None:
    deployment_id, order = agent_with(world, worker)
    worker.report(deployment_id, "running", **order, sequence=1, port=8001)
    before = intents.load(deployment_id)
    worker.report(deployment_id, "running", **order, sequence=2, port=8002)
    told = lines(world, deployment_id)
    reports.presumed_stopped(before, world.now)
    reports.not_listed(before, worker.id, world.now)
    found = serving.of(intents.load(deployment_id))
    assert found is not None and found.port == 8002
    assert (world.see(deployment_id).status, lines(world, deployment_id)) == ("running", told)


def test_what_is_not_listed_does_not_serve(world: PlaneWorld, worker: Worker) -> None:
    deployment_id, order = agent_with(world, worker)
    worker.report(deployment_id, "running", **order, sequence=1, port=8001)
    world.restart(deployment_id)
    reports.not_listed(intents.load(deployment_id), "another", world.now)
    assert intents.load(deployment_id).serving is not None
    reports.not_listed(intents.load(deployment_id), worker.id, world.now)
    assert intents.load(deployment_id).serving is None
