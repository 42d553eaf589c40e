"""The worker that the index of free capacity gives is the one that the whole fleet gives, for a part of the price."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.deployments import intents
from chalicelib.fleet import scan
from chalicelib.scheduling.capacity_view import View
from chalicelib.scheduling.choice import choose
from chalicelib.scheduling.placement import Place
from chalicelib.store.tables import MODELS, CapacityView, Deployment, WorkerRecord
from chalicelib.workers import admin
from muster.api import resources as r
from tests.fixtures.database import Recorder
from tests.fixtures.plane_world import ADMIN, PlaneWorld, Worker

SILENT = 200


def sweep_of_a_large_fleet(world: PlaneWorld) -> None:
    """However few workers there are: none but the sweep reads them all from now on, and the sweep not at once."""
    world.sweep()
    CapacityView(CapacityView.KEY, part="capacity", compared_at=world.now, workers=10_000).save()


def operations(world: PlaneWorld, **body: Any) -> tuple[str, Counter[str]]:
    with world.database.counting() as calls:
        deployment_id = world.deploy(**body)
    return deployment_id, Counter(operation for operation, _ in calls)


LABELS = st.dictionaries(st.sampled_from(["site", "gpu"]), st.sampled_from(["lab", "h200"]), max_size=2)


@st.composite
def hosts(draw: st.DrawFn) -> dict[str, Any]:
    gpus = draw(st.integers(0, 4))
    devices = [
        {"index": index, "lost": draw(st.integers(0, 5)) == 0, "uuid": draw(st.sampled_from(["GPU-", "MIG-"])) + "1"}
        for index in range(gpus)
    ]
    return {"gpus": gpus, "labels": draw(LABELS), "gpu_info": {"count": gpus, "devices": devices}}


FLEETS = st.dictionaries(st.text("abc", min_size=1, max_size=2), hosts(), max_size=6)
STATES = st.lists(st.sampled_from(["online", "silent", "recorded", "drained", "draining"]), min_size=6, max_size=6)
WANTED = st.fixed_dictionaries(
    {
        "gpus": st.integers(0, 4) | st.lists(st.integers(0, 3), unique=True, min_size=1, max_size=2).map(sorted),
        "selector": LABELS,
    }
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FLEETS, STATES, st.lists(WANTED, max_size=3), st.lists(WANTED, min_size=1, max_size=3))
def test_the_index_gives_the_worker_that_the_whole_fleet_gives(
    database: Recorder, fleet: dict[str, Any], states: list[str], before: list[Any], wanted: list[Any]
) -> None:
    for model in MODELS:
        for item in list(model.scan()):
            item.delete()
    world = PlaneWorld(database)
    workers = {name: world.worker(name, **host) for name, host in fleet.items()}
    for body in before:
        world.deploy(**body)
    by_state = list(zip(workers.values(), states, strict=False))
    world.pass_(SILENT)
    _all_but(by_state, "recorded")
    world.sweep()
    for worker, state in by_state:
        if state == "drained":
            admin.patch(worker.id, r.WorkerPatch(draining=True), ADMIN, world.now)
        elif state == "draining":
            worker.beat(status="draining")
    world.pass_(SILENT)
    _all_but(by_state, "recorded", "silent")
    for body in wanted:
        spec = msgspec.json.encode(r.NewDeployment("org/model", **body)).decode()
        deployment = Deployment("wanted", spec=spec)
        found = View().choose(deployment, world.now)
        expected = choose(deployment, scan.candidates(consistent=True).values(), world.now)
        assert isinstance(found, Place) == isinstance(expected, Place)
        assert not isinstance(found, Place) or found == expected


def _all_but(by_state: list[tuple[Worker, str]], *silent: str) -> None:
    for worker, state in by_state:
        if state not in silent:
            worker.beat(status="draining" if state == "draining" else "online")


def test_a_place_is_found_without_a_read_of_the_fleet(world: PlaneWorld) -> None:
    for number in range(30):
        world.worker(f"gpu-{number:02}", gpus=1 + number % 3)
    sweep_of_a_large_fleet(world)
    deployment_id, asked = operations(world, gpus=2)
    assert world.see(deployment_id).worker_id == admin_id(world, "gpu-01")
    assert "Scan" not in asked and asked["Query"] == 1


def admin_id(world: PlaneWorld, name: str) -> str:
    return next(w.worker_id for w in admin.list_(r.PageQuery(limit=100), world.now).workers if w.name == name)


def test_before_the_index_is_complete_the_whole_fleet_decides(world: PlaneWorld) -> None:
    """Workers of an older release are not in the index."""
    older, newer = world.worker("older", gpus=1), world.worker("newer", gpus=2)
    _forget_capacity(older)
    first, asked = operations(world, gpus=1)
    assert world.see(first).worker_id == older.id and asked["Scan"] == 2
    intents.stop(first, ADMIN, world.now)
    _forget_capacity(older)
    sweep_of_a_large_fleet(world)
    second, asked = operations(world, gpus=1)
    assert world.see(second).worker_id == older.id and "Scan" not in asked
    assert newer.id != older.id


def _forget_capacity(worker: Worker) -> None:
    record = WorkerRecord.get(worker.id, "cold", consistent_read=True)
    record.update(actions=[WorkerRecord.open.remove(), WorkerRecord.room.remove(), WorkerRecord.free.remove()])


def test_a_worker_that_fell_silent_is_passed_over(world: PlaneWorld) -> None:
    world.worker("a", gpus=1)
    sweep_of_a_large_fleet(world)
    world.pass_(SILENT)
    other = world.worker("b", gpus=1)
    deployment_id, asked = operations(world, gpus=1)
    assert world.see(deployment_id).worker_id == other.id and "Scan" not in asked


def test_where_much_of_the_fleet_is_silent_the_heartbeats_are_read_once(world: PlaneWorld) -> None:
    for number in range(60):
        world.worker(f"a-{number:02}", gpus=1)
    sweep_of_a_large_fleet(world)
    world.pass_(SILENT)
    other = world.worker("b", gpus=1)
    deployment_id, asked = operations(world, gpus=1)
    assert world.see(deployment_id).worker_id == other.id
    assert asked["Scan"] == 1 and asked.total() < 30


def test_labels_and_indexes_are_told_by_the_index_alone(world: PlaneWorld) -> None:
    for number in range(40):
        world.worker(f"a-{number:02}", gpus=2, labels={"site": "lab"})
    lost = {"count": 2, "devices": [{"index": 0, "lost": True}, {"index": 1}, {"index": 2}]}
    world.worker("b", gpu_info=lost, labels={"site": "h200"})
    wanted = world.worker("c", gpus=3, labels={"site": "h200"})
    sweep_of_a_large_fleet(world)
    deployment_id, asked = operations(world, gpus=[0], selector={"site": "h200"})
    assert world.see(deployment_id).worker_id == wanted.id
    assert "Scan" not in asked and asked["Query"] == 2, "two pages of the index, and one worker"


def test_a_sweep_reads_the_index_to_its_end_once(world: PlaneWorld) -> None:
    """However many wait, and whatever each of them needs."""
    world.worker("a", gpus=1)
    sweep_of_a_large_fleet(world)
    for number in range(5):
        world.deploy(gpus=1, selector={"site": str(number)})
        world.pass_(1)
        world.deploy(gpus=2 + number)
    with world.database.counting() as calls:
        world.sweep()
    indexes = Counter(request.get("IndexName") for operation, request in calls if operation == "Query")
    assert indexes == {"waiting": 1, "free": 1, "listing": 1}


def test_a_conflict_is_followed_by_another_look(world: PlaneWorld) -> None:
    """Two deployments for the last GPU of the tightest worker: the other goes to the next worker."""
    tight, next_ = world.worker("a", gpus=1), world.worker("b", gpus=2)
    sweep_of_a_large_fleet(world)
    placed: list[str] = []
    for calls in range(12):
        with world.database.overtaken_after(calls, lambda: placed.append(world.deploy(gpus=1))):
            placed.append(world.deploy(gpus=1))
            world.database.overtake = None
        where = [world.see(deployment_id).worker_id for deployment_id in placed]
        assert sorted(filter(None, where)) == sorted([tight.id, next_.id])[: len(placed)] or len(placed) == 1
        while placed:
            intents.stop(deployment_id := placed.pop(), ADMIN, world.now)
            intents.delete(deployment_id, ADMIN, world.now)
