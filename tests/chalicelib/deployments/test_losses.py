"""A deployment is lost with its worker: it holds the GPUs in which it may run, and a stop is left where it must end."""

from __future__ import annotations

from chalicelib.deployments import losses
from chalicelib.deployments.losses import Loss
from chalicelib.store import slots
from chalicelib.workers import admin
from tests.fixtures.plane_world import PlaneWorld, lines


def test_what_is_lost_says_why_and_holds_its_gpus_for_as_long_as_it_may_run_in_them(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    assert losses.mark_lost(deployment_id, Loss(worker.id, "WORKER_LOST", "why"), world.now)
    seen = world.see(deployment_id)
    assert (seen.status, seen.error_code, seen.message, seen.desired) == ("error", "WORKER_LOST", "why", "running")
    assert admin.get(worker.id, world.now).gpu_claims == {"0": deployment_id}
    slot = slots.get(worker.id, deployment_id)
    assert slot is not None and (slot.intent, slot.holds_gpus, slot.may_be_running) == ("deploy", True, True)
    assert lines(world, deployment_id)[-1].type == "worker_lost"


def test_what_is_lost_before_its_worker_heard_of_it_holds_nothing(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    assert losses.mark_lost(deployment_id, Loss(worker.id, "WORKER_LOST", "why"), world.now)
    assert admin.get(worker.id, world.now).gpu_claims == {}


def test_what_was_lost_does_not_stay_where_it_was_when_it_is_started_again(world: PlaneWorld) -> None:
    silent, other = world.worker("a-silent"), world.worker("other")
    deployment_id = world.deploy()
    silent.run(deployment_id)
    world.pass_(200)
    other.beat()
    losses.mark_lost(deployment_id, Loss(silent.id, "WORKER_LOST", "why"), world.now)
    world.start(deployment_id)
    assert world.see(deployment_id).worker_id == other.id
    assert admin.get(silent.id, world.now).gpu_claims == {"0": deployment_id}, "until it is shown to be gone there"


def test_what_is_over_or_elsewhere_is_not_lost(world: PlaneWorld) -> None:
    here, there = world.worker("here"), world.worker("there")
    over, elsewhere = world.deploy(worker_id=here.id), world.deploy(worker_id=there.id)
    world.stop(over)
    assert not losses.mark_lost(over, Loss(here.id, "WORKER_LOST", "why"), world.now)
    assert not losses.mark_lost(elsewhere, Loss(here.id, "WORKER_LOST", "why"), world.now)
    assert not losses.mark_lost("nothing", Loss(here.id, "WORKER_LOST", "why"), world.now)
    assert world.see(elsewhere).status == "pending"


def test_nothing_is_lost_by_a_silence_that_has_ended(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    silent_since = world.now
    world.pass_(1)
    worker.beat()
    assert not losses.mark_lost(deployment_id, Loss(worker.id, "WORKER_LOST", "why"), world.now, silent_since)
    assert world.see(deployment_id).status == "running"


def test_what_is_lost_for_good_leaves_a_stop_that_a_worker_which_lists_nothing_never_hears_of(
    world: PlaneWorld,
) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    losses.mark_lost_and_stop(deployment_id, Loss(worker.id, "WORKER_LOST", "why"), world.now)
    slot = slots.get(worker.id, deployment_id)
    assert slot is not None and (slot.intent, slot.sent_at, slot.sent_session) == ("stop", world.now, 0)
    assert world.see(deployment_id).desired == "stopped"
    assert worker.types(active_deployments=[]) == []
