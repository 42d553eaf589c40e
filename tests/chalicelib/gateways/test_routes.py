"""Which models serve where, what starts, and who may call."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.auth import tokens
from chalicelib.gateways import routes
from chalicelib.store.tables import WorkerHeartbeat
from chalicelib.telemetry.snapshot import SHARED, Snapshot
from chalicelib.workers import admin
from muster.api import gateways as g
from muster.api import resources as r
from muster.api.errors import ApiError
from tests.fixtures.plane_world import ADMIN, PlaneWorld, Worker


def seen(world: PlaneWorld, selector: str | None = None) -> g.Routes:
    SHARED.forget()
    return routes.current(g.RoutesQuery(selector), world.now)


def serving(world: PlaneWorld, name: str = "gpu-1", **host: Any) -> tuple[Worker, str]:
    """A worker, and a deployment that runs on it."""
    worker = world.worker(name, features=["tunnel"], boot_id="b", journal_id=f"j-{name}", **host)
    deployment_id = world.deploy(
        "org/model", name=f"on-{name}", worker_id=worker.id, config={"served_model_name": "qwen"}
    )
    worker.run(deployment_id)
    return worker, deployment_id


def test_what_runs_is_a_replica_by_the_name_that_callers_use(world: PlaneWorld) -> None:
    worker, deployment_id = serving(world)
    (replica,) = seen(world).replicas
    assert replica == g.Replica(deployment_id, "qwen", worker.id, "gpu-1", tunnel=True)
    assert seen(world).poll == 10.0


def test_what_starts_is_said_with_its_progress(world: PlaneWorld) -> None:
    worker = world.worker(features=["tunnel"], boot_id="b", journal_id="j")
    deployment_id = world.deploy("org/model", worker_id=worker.id)
    worker.beat()
    worker.report(deployment_id, "downloading", message="Pulling", progress={"phase": "pull", "percent": 40.0})
    (starting,) = seen(world).starting
    assert (starting.model, starting.status, starting.message, starting.percent) == (
        "org/model",
        "downloading",
        "Pulling",
        40.0,
    )
    assert seen(world).replicas == []


def test_a_model_leaves_when_it_is_to_stop_or_its_worker_is_silent(world: PlaneWorld) -> None:
    worker, deployment_id = serving(world)
    world.stop(deployment_id)
    assert seen(world).replicas == []
    world.start(deployment_id)
    other, _ = serving(world, "gpu-2")
    assert {replica.worker for replica in seen(world).replicas} >= {"gpu-2"}
    world.pass_(3600)
    assert seen(world).replicas == [], (worker.id, other.id)


def test_a_pinned_address_has_an_endpoint_and_the_models_key_and_no_other_has(world: PlaneWorld) -> None:
    worker, _ = serving(world, address="10.0.0.7")
    assert (seen(world).replicas[0].endpoint, seen(world).replicas[0].key) == (None, None)
    admin.patch(worker.id, r.WorkerPatch(address="10.0.0.7"), ADMIN, world.now)
    (replica,) = seen(world).replicas
    assert replica.endpoint == "http://10.0.0.7:8001" and replica.key and len(replica.key) > 20


def test_a_selector_chooses_workers_by_their_labels(world: PlaneWorld) -> None:
    serving(world, "gpu-1", labels={"site": "lab", "gpu": "h200"})
    serving(world, "gpu-2", labels={"site": "rack"})
    assert [replica.worker for replica in seen(world, "site=lab,gpu=h200").replicas] == ["gpu-1"]
    assert seen(world, "site=lab,gpu=a100").replicas == []
    for bad in ("site", "=lab", "a=b,c"):
        with pytest.raises(ApiError, match="selector"):
            seen(world, bad)


def test_callers_are_known_by_their_digests(world: PlaneWorld) -> None:
    made = tokens.create_key(r.NewApiKey("app", "caller", ["qwen"], rpm=60), ADMIN, world.now)
    (caller,) = seen(world).callers
    assert (caller.key_id, caller.name, caller.models, caller.rpm) == (made.key_id, "app", ["qwen"], 60)
    assert caller.digest == tokens.digest(str(made.key)).hex()


def test_a_poll_in_three_reads_the_heartbeats_and_the_others_what_has_changed(world: PlaneWorld) -> None:
    for number in range(3):
        serving(world, f"gpu-{number}")
    before = seen(world)
    scans = []
    for _ in range(9):
        world.pass_(10)
        with world.database.counting() as calls:
            assert routes.current(g.RoutesQuery(), world.now) == before
        scans.append([call["TableName"] for operation, call in calls if operation == "Scan"])
    assert scans == [[], [], ["muster-heartbeats"]] * 3


def test_routes_are_made_again_only_where_the_fleet_has_changed(world: PlaneWorld) -> None:
    worker, deployment_id = serving(world)
    made = seen(world).replicas
    world.pass_(30)
    worker.beat()
    assert routes.current(g.RoutesQuery(), world.now).replicas is made, "a heartbeat that says the same"
    world.pass_(10)
    world.stop(deployment_id)
    assert routes.current(g.RoutesQuery(), world.now).replicas == []
    world.start(deployment_id)
    world.pass_(10)
    assert [each.model for each in routes.current(g.RoutesQuery(), world.now).starting] == ["qwen"]


def test_a_worker_that_is_silent_or_leaves_tunnels_is_known_within_three_polls(world: PlaneWorld) -> None:
    worker, _ = serving(world)
    (replica,) = seen(world).replicas
    assert replica.tunnel
    WorkerHeartbeat(worker.id).update(actions=[WorkerHeartbeat.tunnels.set(False)])  # as a registration does
    found = []
    for _ in range(3):
        world.pass_(10)
        found.append(routes.current(g.RoutesQuery(), world.now).replicas[0].tunnel)
    assert found == [True, True, False]
    polls = 0
    while routes.current(g.RoutesQuery(), world.now).replicas:
        world.pass_(10)
        polls += 1
    assert polls <= 9 + 3, "after 90 seconds of silence"


def test_what_was_read_a_moment_ago_is_enough_unless_it_is_to_be_fresh(
    world: PlaneWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway asks for fresh routes where a caller names a key or a model that it does not know."""
    monkeypatch.setattr(routes, "SHARED", Snapshot(5.0))

    def starting(*, fresh: bool = False) -> int:
        return len(routes.current(g.RoutesQuery(fresh=fresh), world.now).starting)

    worker = world.worker(features=["tunnel"], boot_id="b", journal_id="j")
    assert starting() == 0
    world.deploy("org/model", worker_id=worker.id)
    world.now += 1
    assert [starting(), starting(fresh=True), starting()] == [0, 1, 1]
