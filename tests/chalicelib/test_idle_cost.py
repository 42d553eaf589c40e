"""An idle heartbeat is one write of one unit, counted where PynamoDB calls the database; one in ten also looks."""

from __future__ import annotations

from collections import Counter

from chalicelib.store import slots
from chalicelib.store.tables import Slot, WorkerHeartbeat
from chalicelib.workers import admin
from tests.fixtures.plane_world import PlaneWorld
from tests.fixtures.units import size_of

GPUS, DEPLOYMENTS = 8, 16
UNIT = 1024


def test_an_idle_heartbeat_is_one_write_of_one_unit(world: PlaneWorld) -> None:
    worker = world.worker(gpus=GPUS, machine_id="m", boot_id="b")
    worker.register(machine_id="m", boot_id="b2")
    worker.journal_id = "a-journal-id-of-some-length-0123456789"
    usage = [{"index": i, "memory_used": 80 * 2**30 + i, "utilization": 99} for i in range(GPUS)]
    disk = {"total": 10**13, "used": 10**12, "free": 9 * 10**12, "percent": 10.0}
    for i in range(DEPLOYMENTS):
        deployment_id = world.deploy(gpus=0, name=f"d{i}")
        generation = world.see(deployment_id).generation
        worker.beat()
        worker.report(
            deployment_id, "running", generation=generation, session=worker.answer.session, sequence=i, port=8000 + i
        )
        worker.active.append(deployment_id)
    for _ in range(4):
        world.pass_(400)
        inbox = worker.beat(gpu_usage=usage, disk=disk).inbox
    with world.database.counting() as calls:
        for _ in range(20):
            world.pass_(30)
            answer = worker.beat(gpu_usage=usage, disk=disk, inbox=inbox)
            assert (answer.commands, answer.next_heartbeat_in) == ([], 30)
    counted = Counter(operation for operation, _ in calls)
    assert counted["UpdateItem"] == 20
    assert counted["Query"] == 2, "one in ten looks"
    assert set(counted) <= {"UpdateItem", "Query", "BatchGetItem"}
    stored = WorkerHeartbeat._get_connection().get_item(worker.id)["Item"]
    assert size_of(stored) <= UNIT, f"{size_of(stored)} bytes"


def test_the_same_images_in_every_heartbeat_cost_nothing_more(world: PlaneWorld) -> None:
    worker = world.worker()
    images = [{"id": "sha256:a", "tags": ["a:b"], "size": 1, "created": "2026-01-01T00:00:00Z"}]
    worker.beat(images=images)
    with world.database.counting() as calls:
        for _ in range(5):
            worker.beat(images=images)
    assert [operation for operation, _ in calls] == ["UpdateItem"] * 5
    listed = admin.last_images(worker.id, world.now)
    assert listed is not None and [image.id for image in listed.images] == ["sha256:a"]


def test_a_look_does_not_read_what_following_a_log_leaves_behind(world: PlaneWorld) -> None:
    worker = world.worker()
    for second in range(5):
        asked = world.ask(worker, "container_logs", container_id="c", lines=200, since=str(second))
        worker.beat()
        worker.result(asked, output={"logs": ""})
    with world.database.counting() as calls:
        assert slots.of_worker(worker.id) == ([], [])
    ((operation, query),) = calls
    assert operation == "Query"
    read = Slot._get_connection().query(worker.id, Slot.slot.between("D#", "O#~"), consistent_read=True)
    everything = Slot._get_connection().query(worker.id, consistent_read=True)
    assert (read["ScannedCount"], everything["ScannedCount"]) == (0, 5)
    assert {value["S"] for value in query["ExpressionAttributeValues"].values()} == {worker.id, "D#", "O#~"}
