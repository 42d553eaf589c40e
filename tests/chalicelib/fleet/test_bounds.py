"""Numbers from workers are bounded by the control plane's clock: what one worker sends, the next one can go on from."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.deployments import intents
from chalicelib.fleet import bounds
from chalicelib.fleet.workers import MAX_CLOCK_SKEW_SECONDS
from chalicelib.scheduling import scheduler
from chalicelib.store.tables import Slot, WorkerHeartbeat
from muster.api import messages as m
from muster.api import resources as r
from muster.api.errors import ApiError
from tests.fixtures.plane_world import ADMIN, PlaneWorld, Worker

NOW = 1_800_000_000.0
MARGIN = int(MAX_CLOCK_SKEW_SECONDS * 1000)
FUTURE = [MARGIN + 1, 86_400_000, 2**52, 2**53 - int(NOW * 1000)]
"""Milliseconds from now."""


def test_the_larger_of_the_stored_one_and_the_clock_with_its_margin_is_accepted() -> None:
    latest = int(NOW * 1000) + MARGIN
    bounds.check("session", None, 0, NOW)
    bounds.check("session", latest, 0, NOW)
    bounds.check("session", latest + 50, latest + 50, NOW)
    for number, stored in ((latest + 1, 0), (latest + 51, latest + 50), (2**53, latest)):
        with pytest.raises(ApiError, match="session: ") as caught:
            bounds.check("session", number, stored, NOW)
        assert (caught.value.status, caught.value.error_code) == (400, "INVALID_REQUEST")


@pytest.fixture
def worker(world: PlaneWorld) -> Worker:
    worker = world.worker()
    worker.journal_id = "journal"
    return worker


def running(world: PlaneWorld, worker: Worker) -> str:
    deployment_id = world.deploy(gpus=1)
    worker.run(deployment_id)
    return deployment_id


def ahead(world: PlaneWorld, by: int) -> int:
    return int(world.now * 1000) + by


def refused(call: Any, field: str) -> None:
    with pytest.raises(ApiError, match=f"{field}: ") as caught:
        call()
    assert caught.value.error_code == "INVALID_REQUEST"


def goes_on(world: PlaneWorld, worker: Worker, deployment_id: str) -> None:
    """The worker's own numbers are taken, a next process of it as well, and a next generation reaches it and runs."""
    worker.beat()
    worker.register(boot_id="the next process")
    worker.beat()
    world.restart(deployment_id)
    (command,) = [each for each in worker.beat().commands if isinstance(each, m.Deploy)]
    assert command.generation < 2**53
    order = {"generation": command.generation, "session": worker.answer.session}
    assert worker.report(deployment_id, "running", **order, sequence=1).applied
    assert not worker.report(deployment_id, "starting", **order, sequence=1).applied, "and they are in order"
    worker.register(boot_id="and the one after it")
    order["session"] = worker.answer.session
    assert worker.report(deployment_id, "stopped", **order, sequence=1).applied


@pytest.mark.parametrize("by", FUTURE)
@pytest.mark.parametrize("field", ["generation", "session"])
def test_a_report_from_the_future_is_refused_and_leaves_nothing(
    world: PlaneWorld, worker: Worker, field: str, by: int
) -> None:
    deployment_id = running(world, worker)
    before = intents.load(deployment_id)
    given = {"generation": int(before.generation), "session": worker.answer.session, "sequence": 1}
    refused(lambda: worker.report(deployment_id, "error", **given | {field: ahead(world, by)}), field)
    after = intents.load(deployment_id)
    assert (after.version, after.generation, after.status) == (before.version, before.generation, "running")
    goes_on(world, worker, deployment_id)


@pytest.mark.parametrize("by", [1000, MARGIN])
@pytest.mark.parametrize("field", ["generation", "session"])
def test_a_report_within_the_margin_is_taken_and_the_next_is_newer(
    world: PlaneWorld, worker: Worker, field: str, by: int
) -> None:
    """As after an older database was restored under an agent."""
    deployment_id = running(world, worker)
    given = {"generation": world.see(deployment_id).generation, "session": worker.answer.session, "sequence": 1}
    assert worker.report(deployment_id, "stopping", **given | {field: ahead(world, by)}).applied
    # The next process registers within the same minute: its reports of the same generation are newer all the same.
    worker.register(boot_id="the next process")
    given = {"generation": world.see(deployment_id).generation, "session": worker.answer.session, "sequence": 1}
    assert worker.report(deployment_id, "stopped", **given).applied
    goes_on(world, worker, deployment_id)


@pytest.mark.parametrize("by", FUTURE)
def test_a_session_from_the_future_is_refused_by_every_route_of_a_worker(
    world: PlaneWorld, worker: Worker, by: int
) -> None:
    deployment_id = running(world, worker)
    operation_id = world.ask(worker)
    stored = WorkerHeartbeat.get(worker.id)
    refused(lambda: worker.beat(session=ahead(world, by)), "session")
    refused(
        lambda: worker.result(operation_id, "succeeded", session=ahead(world, by), output={"images": []}), "session"
    )
    assert WorkerHeartbeat.get(worker.id).session == stored.session
    assert world.operation(operation_id).status == "queued"
    goes_on(world, worker, deployment_id)


def test_a_session_from_the_future_tells_nothing_to_a_stranger(world: PlaneWorld, worker: Worker) -> None:
    worker.token = "not this worker's"
    with pytest.raises(ApiError) as caught:
        worker.beat(session=2**53)
    assert caught.value.error_code == "UNAUTHENTICATED"


def test_a_stored_session_is_taken_whatever_the_clock_says(world: PlaneWorld, worker: Worker) -> None:
    """The control plane's own clock was a day ahead for a while, and is right again."""
    world.pass_(86400)
    worker.register(boot_id="the next process")
    deployment_id = running(world, worker)
    world.pass_(-86400)
    worker.beat()
    given = {"generation": world.see(deployment_id).generation, "session": worker.answer.session}
    assert worker.report(deployment_id, "starting", **given, sequence=7).applied
    goes_on(world, worker, deployment_id)


@pytest.mark.parametrize("by", [0, *FUTURE])
def test_an_inbox_is_compared_and_never_stored(world: PlaneWorld, worker: Worker, by: int) -> None:
    """A worker that claims to have heard everything is still sent what it has not acknowledged."""
    deployment_id = world.deploy()
    for _ in range(3):
        answer = worker.beat(inbox=ahead(world, by), acks=[])
        assert [each.command_id for each in answer.commands if isinstance(each, m.Deploy)]
        assert answer.inbox <= ahead(world, MARGIN)
    worker.report(deployment_id, "running", container_id="c1", port=8001)
    goes_on(world, worker, deployment_id)


def test_a_worker_that_was_left_cannot_make_its_stop_too_new_for_the_next(world: PlaneWorld, worker: Worker) -> None:
    """What the old worker still reports must not keep the deployment from its new place."""
    deployment_id = running(world, worker)
    other = world.worker("gpu-2")
    other.journal_id = "another journal"
    intents.patch(deployment_id, r.DeploymentPatch(worker_id=other.id), ADMIN, world.now)
    refused(lambda: worker.report(deployment_id, "running", generation=2**53), "generation")
    slot = Slot.get(worker.id, f"D#{deployment_id}")
    assert slot.generation <= intents.load(deployment_id).generation
    worker.report(deployment_id, "stopped", generation=int(intents.load(deployment_id).generation) - 1)
    scheduler.sweep(world.now)
    assert "deploy" in other.types()
