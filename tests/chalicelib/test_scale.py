"""The sweep over a large fleet on a real DynamoDB engine: 1,000 workers here, 100,000 with --thorough."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from chalicelib.store.tables import CapacityView, Event, WorkerHeartbeat, WorkerRecord
from chalicelib.workers import admin, liveness
from muster.api import resources as r
from tests.cost.meter import METER
from tests.fixtures.database import Killed, Recorder
from tests.fixtures.large_fleet import GPUS, copies, fleet_of, raw, segments, worker_with_history
from tests.fixtures.plane_world import PlaneWorld, Worker

BEATING = 12
THREADS = 4
MANY = 10_000
MOST_UNITS, MOST_UNITS_WITHOUT_ROOM, MOST_UNITS_OF_INDEX = 20, 60, 250
"""Read units of a deployment that may go anywhere."""


@pytest.fixture
def world(engine: Recorder) -> PlaneWorld:
    return PlaneWorld(engine, now=1_800_000_000.123456)


@pytest.fixture
def size(thorough: bool) -> int:
    return 100_000 if thorough else 1_000


def down() -> set[str]:
    """The workers that were recorded as silent."""
    return {
        str(heartbeat.worker_id)
        for heartbeat in WorkerHeartbeat.scan(WorkerHeartbeat.down_since.exists(), attributes_to_get=["worker_id"])
    }


def offline_events(among: set[str]) -> Counter[str]:
    """How often the timeline of each says that it went offline."""
    found = Event.scan(Event.type == "offline", attributes_to_get=["subject"])
    return Counter(str(event.subject) for event in found if event.subject in among)


def test_a_sweep_costs_what_heartbeats_weigh_and_nothing_for_each_worker(world: PlaneWorld, size: int) -> None:
    size = max(size, 2_000)  # where there are fewer, some segments are much larger than others
    copies(raw(WorkerHeartbeat, worker_with_history(world).id), size - 1)
    world.sweep()
    with world.database.counting() as calls:
        world.sweep()
    read = segments()
    assert sum(part.items for part in read) == size
    assert Counter(operation for operation, _ in calls) == {
        "Scan": sum(part.pages for part in read),
        "GetItem": 2,  # the brake, and when the index of free capacity was compared
        "Query": 1,  # what waits for a place
    }
    assert {call["TableName"] for operation, call in calls if operation == "Scan"} == {WorkerHeartbeat.Meta.table_name}
    computed, charged = sum(part.read_units for part in read), sum(part.charged for part in read)
    assert computed == pytest.approx(charged, rel=0.01), "our arithmetic is the engine's"
    assert max(part.items for part in read) < 1.5 * min(part.items for part in read), "no thread reads most of it"


def test_heartbeats_beside_the_sweep_win_and_the_silent_are_all_recorded(world: PlaneWorld, size: int) -> None:
    """`steady` call in all the time; `returning` were silent until the sweep began."""
    heartbeat = raw(WorkerHeartbeat, worker_with_history(world).id)
    silent = {str(heartbeat["worker_id"]["S"]), *copies(heartbeat, size // 10)}
    returning = [world.worker(f"returning-{i}") for i in range(BEATING)]
    world.pass_(100)
    steady = [world.worker(f"steady-{i}") for i in range(BEATING)]
    copies(heartbeat, size - size // 10, ls={"N": str(world.now)})
    over = threading.Event()

    def call_in(mine: list[Worker]) -> int:
        rounds = 0
        while not over.is_set() or not rounds:
            for worker in mine:
                worker.beat()
            rounds += 1
        return rounds

    callers = [*steady, *returning]
    with ThreadPoolExecutor(THREADS) as pool:
        beating = [pool.submit(call_in, callers[i::THREADS]) for i in range(THREADS)]
        try:
            world.sweep()
        finally:
            over.set()
        assert all(each.result() for each in beating)
    for worker in returning:
        worker.beat()
    assert down() == silent
    told = offline_events(silent | {worker.id for worker in callers})
    assert set(told) >= silent and set(told.values()) == {1}
    assert not told.keys() & {worker.id for worker in steady}


def test_an_outage_is_held_for_five_minutes_and_recorded_by_as_many_sweeps_as_it_takes(
    world: PlaneWorld, size: int
) -> None:
    heartbeat = raw(WorkerHeartbeat, worker_with_history(world).id)
    silent = {
        str(heartbeat["worker_id"]["S"]),
        *copies(heartbeat, size * 51 // 100),
    }  # the engine counts an item a page too many
    world.pass_(100)
    copies(heartbeat, size - len(silent), ls={"N": str(world.now + 1200)})
    world.sweep()
    world.pass_(299)
    world.sweep()
    assert down() == set(), "more than half at once is likelier our own fault"
    world.pass_(2)
    with world.database.killed_after(size // 10), pytest.raises(Killed):
        world.sweep()
    assert 0 < len(down()) < len(silent) // 2
    world.sweep()
    assert down() == silent
    told = offline_events(silent)
    assert set(told.values()) == {1}
    assert len(silent) - len(told) <= liveness.SWEEP_SEGMENTS, "at most the workers that it was at when it was cut off"
    world.pass_(600)
    with world.database.counting() as calls:
        world.sweep()
    asked = Counter(operation for operation, _ in calls)
    assert asked.keys() == {"Scan", "GetItem", "Query"} and asked["GetItem"] == 2, "old silence costs nothing more"


def test_one_that_names_its_worker_reads_that_worker_alone(world: PlaneWorld, size: int) -> None:
    first = worker_with_history(world)
    fleet_of(first, size, ls={"N": str(world.now)})
    with world.database.counting() as calls:
        placed = world.deploy(gpus=1, worker_id=first.id)
    assert world.see(placed).worker_id == first.id
    assert "Scan" not in {operation for operation, _ in calls} and len(calls) < 20


def test_a_place_in_a_full_fleet_costs_pages_and_nothing_for_each_worker_or_claim(world: PlaneWorld) -> None:
    """What is claimed is claimed only as long as a slot holds it: the slots, too, are read in pages."""
    first = worker_with_history(world)
    for _ in range(GPUS):
        first.run(world.deploy(gpus=1, worker_id=first.id))
    fleet_of(first, 100, ls={"N": str(world.now)})
    record = raw(WorkerRecord, first.id, "cold")
    with world.database.counting() as calls:
        waiting = world.deploy(gpus=GPUS + 1)
    assert f"0 of {GPUS} GPUs free" in str(world.see(waiting).message)
    assert Counter(operation for operation, _ in calls)["Scan"] == 2, "heartbeats and records: nobody has nine"
    with world.database.counting() as calls:
        placed = world.deploy(gpus=1)
    assert world.see(placed).worker_id not in (None, first.id), "the others' claims have no slots, and hold nothing"
    assert Counter(operation for operation, _ in calls)["Scan"] == 3 and len(calls) < 20
    assert raw(WorkerRecord, first.id, "cold") == record


def test_three_that_are_asked_for_at_once_get_the_three_places_there_are(world: PlaneWorld) -> None:
    workers = [world.worker(f"gpu-{i}", gpus=1) for i in range(3)]
    with ThreadPoolExecutor(3) as pool:
        placed = list(pool.map(lambda _: world.deploy(gpus=1), range(3)))
    world.sweep()
    assert {world.see(each).worker_id for each in placed} == {each.id for each in workers}


@pytest.mark.parametrize("count", [40, 80])
def test_a_page_of_workers_reads_each_item_once(world: PlaneWorld, count: int) -> None:
    """A unit for a record and one for a heartbeat, and half a unit for a report, which may be a moment old."""
    fleet_of(worker_with_history(world), count, ls={"N": str(world.now)})
    with METER.metered(), world.database.counting() as calls:
        listed = admin.list_(r.PageQuery(limit=count), world.now).workers
    assert len(listed) == count and all(len(worker.gpu_usage) == GPUS for worker in listed)
    assert Counter(operation for operation, _ in calls) == {"Query": 1, "BatchGetItem": 3}
    read = [
        (table, *sorted(value["S"] for value in key.values()))
        for operation, call in calls
        if operation == "BatchGetItem"
        for table, wanted in call["RequestItems"].items()
        for key in wanted["Keys"]
    ]
    assert len(read) == len(set(read)) == 3 * count
    assert 2.5 * count < METER.use.reads <= 2.5 * count + 1.5, "the rest is the keys of the listing"


@pytest.fixture
def many(engine: Recorder) -> tuple[PlaneWorld, Worker]:
    """10,000 workers that an index was made of, with the first one's claims: 7 of its 8 GPUs are free."""
    world = PlaneWorld(engine, now=1_800_000_000.123456)
    first = worker_with_history(world)
    first.run(world.deploy(gpus=1, worker_id=first.id))
    fleet_of(first, MANY, ls={"N": str(world.now)})
    CapacityView(CapacityView.KEY, part="capacity", compared_at=world.now, workers=MANY).save()
    return world, first


def test_a_place_among_ten_thousand_workers_costs_twenty_read_units_at_most(many: tuple[PlaneWorld, Worker]) -> None:
    world, _ = many
    with METER.metered():
        placed = world.deploy(gpus=1)
    assert world.see(placed).worker_id is not None
    assert METER.use.reads <= MOST_UNITS
    with METER.metered():
        world.deploy(gpus=7)
    assert METER.use.reads <= MOST_UNITS
    with METER.metered():
        waiting = world.deploy(gpus=8)
    assert "7 of 8 GPUs free, 8 needed" in str(world.see(waiting).message)
    assert METER.use.reads <= MOST_UNITS_WITHOUT_ROOM, "twenty workers are read for the reasons"
    with METER.metered():
        world.deploy(gpus=1, selector={"no": "such"})
    assert METER.use.reads <= MOST_UNITS_OF_INDEX + MOST_UNITS_WITHOUT_ROOM, "all of the index, and no other worker"
