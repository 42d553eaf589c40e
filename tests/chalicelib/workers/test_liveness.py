"""What silence means, and when: the Liveness section of docs/protocol.md, with the clock in hand."""

from __future__ import annotations

import pytest

from chalicelib.auth import tokens
from chalicelib.store.items import find
from chalicelib.store.tables import WorkerHeartbeat
from chalicelib.workers import admin, liveness
from muster.api import resources as r
from muster.api.errors import ApiError
from tests.fixtures.agent_world import DAY
from tests.fixtures.plane_world import ADMIN, PlaneWorld


def online(world: PlaneWorld, worker_id: str) -> bool:
    return admin.get(worker_id, world.now).status == "online"


def test_a_silent_workers_deployment_keeps_its_status_and_is_unreachable(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    world.pass_(100)
    world.sweep()
    seen = world.see(deployment_id)
    assert (seen.status, seen.reachable) == ("running", False)
    assert seen.status_as_of.timestamp() == world.now - 100


def test_after_24_hours_of_silence_it_is_lost_and_the_same_generation_brings_it_back(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    world.pass_(86401)
    world.sweep()
    assert (world.see(deployment_id).status, world.see(deployment_id).error_code) == ("error", "WORKER_LOST")
    assert admin.get(worker.id, world.now).gpu_claims == {"0": deployment_id}
    worker.beat()
    world.pass_(25)
    assert worker.types() == [], "a basic client's list is its report"
    assert world.see(deployment_id).status == "running"
    assert admin.get(worker.id, world.now).gpu_claims == {"0": deployment_id}


def test_a_deploy_to_a_worker_that_is_lost_is_not_sent_when_it_returns(world: PlaneWorld) -> None:
    worker = world.worker()
    world.deploy(worker_id=worker.id)
    world.pass_(86401)
    world.sweep()
    assert worker.types() == []


def test_a_fleet_that_falls_silent_at_once_is_our_fault_for_five_minutes(world: PlaneWorld) -> None:
    fleet_ = [world.worker(f"gpu-{i}") for i in range(4)]
    world.pass_(100)
    fleet_[0].beat()
    world.sweep()
    assert [find(WorkerHeartbeat, each.id).down_since for each in fleet_] == [None] * 4  # type: ignore[union-attr]
    world.pass_(60)
    fleet_[0].beat()
    world.sweep()
    assert [find(WorkerHeartbeat, each.id).down_since for each in fleet_] == [None] * 4  # type: ignore[union-attr]
    world.pass_(300)
    fleet_[0].beat()
    world.sweep()
    down = [find(WorkerHeartbeat, each.id).down_since for each in fleet_]  # type: ignore[union-attr]
    assert [each is not None for each in down] == [False, True, True, True]


def test_one_of_four_that_falls_silent_is_recorded_at_once(world: PlaneWorld) -> None:
    fleet_ = [world.worker(f"gpu-{i}") for i in range(4)]
    world.pass_(100)
    for each in fleet_[1:]:
        each.beat()
    world.sweep()
    assert find(WorkerHeartbeat, fleet_[0].id).down_since == world.now  # type: ignore[union-attr]


def test_an_ephemeral_worker_is_forgotten_after_15_minutes(world: PlaneWorld) -> None:
    made = tokens.create_token(r.NewRegistrationToken(ephemeral=True), ADMIN, world.now)
    assert isinstance(made.token, str)
    worker = world.worker(token=made.token)
    world.pass_(899)
    world.sweep()
    assert not online(world, worker.id)
    world.pass_(2)
    world.sweep()
    with pytest.raises(ApiError, match="no such worker"):
        admin.get(worker.id, world.now)


def test_a_heartbeat_beats_the_sweep(world: PlaneWorld) -> None:
    """The sweep read the worker as silent; its flip is void once the worker was heard of."""
    worker = world.worker()
    world.pass_(100)
    read = find(WorkerHeartbeat, worker.id)
    assert read is not None
    worker.beat()
    liveness._record(read, world.now)
    assert find(WorkerHeartbeat, worker.id).down_since is None  # type: ignore[union-attr]


def test_a_registration_beats_the_sweep_of_the_day(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy(gpus=0)
    worker.run(deployment_id)
    world.pass_(86401)
    read = find(WorkerHeartbeat, worker.id)
    assert read is not None
    worker.register()
    liveness._record(read, world.now)
    assert world.see(deployment_id).status == "running"


def test_the_brake_lets_go_although_the_clock_was_put_back(world: PlaneWorld) -> None:
    for name in "abc":
        world.worker(name)
    world.pass_(DAY - 3600)
    world.sweep()
    assert not any(each.down_since for each in WorkerHeartbeat.scan())
    world.pass_(-DAY + 7200)
    world.sweep()
    world.pass_(liveness.BRAKE_SECONDS)
    world.sweep()
    assert all(each.down_since for each in WorkerHeartbeat.scan())


def test_where_the_clock_was_put_back_silence_is_counted_from_then_on(world: PlaneWorld) -> None:
    worker = world.worker()
    world.pass_(-DAY)
    liveness.clock_was_put_back(world.now)
    assert WorkerHeartbeat.get(worker.id).last_seen == world.now
    world.pass_(60)
    liveness.clock_was_put_back(world.now - 60)
    assert WorkerHeartbeat.get(worker.id).last_seen == world.now - 60, "and of what is in order nothing is changed"
