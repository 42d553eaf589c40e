"""A worker's GPUs follow its host, and its timeline says what changed."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest

from chalicelib.fleet import workers
from chalicelib.scheduling import gpu_inventory, scheduler
from chalicelib.store.tables import WorkerRecord
from chalicelib.workers import admin
from muster.api import messages as m
from tests.fixtures.database import Killed
from tests.fixtures.plane_world import PlaneWorld, lines


def device(index: int, uuid: str | None = None, **fields: Any) -> m.GpuDevice:
    return m.GpuDevice(index, uuid=uuid or f"GPU-{index}", **fields)


def info(*devices: m.GpuDevice) -> m.GpuInfo:
    return m.GpuInfo(len(devices), list(devices))


def body(gpus: m.GpuInfo) -> dict[str, Any]:
    return {"count": gpus.count, "devices": [{"index": d.index, "uuid": d.uuid, "lost": d.lost} for d in gpus.devices]}


@pytest.mark.parametrize(
    ("before", "after", "clauses"),
    [
        (info(), info(device(0), device(1)), ["GPU 0 (GPU-0) is there", "GPU 1 (GPU-1) is there"]),
        (info(device(0), device(1)), info(device(1)), ["GPU 0 (GPU-0) is gone"]),
        (info(device(0)), info(device(0, lost=True)), ["GPU 0 (GPU-0) is lost"]),
        (info(device(0, lost=True)), info(device(0)), ["GPU 0 (GPU-0) is back"]),
        (info(device(0)), info(device(0, "GPU-new")), ["GPU 0 is GPU-new now, in place of GPU-0"]),
        (info(), info(device(0, lost=True)), ["GPU 0 (GPU-0) is lost"]),
        (m.GpuInfo(2), m.GpuInfo(3), ["3 GPUs, 2 before"]),
        (info(m.GpuDevice(0)), info(m.GpuDevice(0, lost=True)), ["GPU 0 is lost"]),
        (info(device(0, driver_version="1")), info(device(0, driver_version="2")), []),
    ],
)
def test_a_change_is_told_device_by_device(before: m.GpuInfo, after: m.GpuInfo, clauses: list[str]) -> None:
    assert list(gpu_inventory.changed(before, after)) == clauses


def test_news_in_a_heartbeat_is_stored_and_told_once(world: PlaneWorld) -> None:
    worker = world.worker(gpus=0, journal_id="j")
    news = body(info(device(0), device(1)))
    for _ in range(3):
        worker.beat(gpu_info=news)
    assert workers.get(worker.id).devices == (0, 1)
    worker.beat()
    assert workers.get(worker.id).devices == (0, 1), "a heartbeat without news changes nothing"
    said = [(each.type, each.message) for each in lines(world, worker.id) if each.type == "gpus_changed"]
    assert said == [("gpus_changed", "GPU 0 (GPU-0) is there; GPU 1 (GPU-1) is there")]


def test_what_waits_is_placed_when_a_gpu_comes(world: PlaneWorld) -> None:
    worker = world.worker(gpus=0, journal_id="j")
    waiting = world.deploy(gpus=1)
    assert world.see(waiting).worker_id is None
    assert worker.types(gpu_info=body(info(device(0)))) == ["deploy"]


def test_a_registration_tells_what_changed_since_the_last(world: PlaneWorld) -> None:
    worker = world.worker(gpu_info=body(info(device(0), device(1))))
    worker.register(gpu_info=body(info(device(0, "GPU-1"))))
    said = [each.message for each in lines(world, worker.id) if each.type == "gpus_changed"]
    assert said == ["GPU 0 is GPU-1 now, in place of GPU-0; GPU 1 (GPU-1) is gone"]


def test_news_of_a_worker_that_was_removed_meanwhile_is_none(world: PlaneWorld) -> None:
    assert not gpu_inventory.follow("nobody", info(device(0)), {}, world.now)
    assert not list(WorkerRecord.query("nobody"))


def test_news_survives_a_placement_at_the_same_time(world: PlaneWorld) -> None:
    """The claims are in the same item: neither undoes the other."""
    worker = world.worker(gpus=2)
    deployment = world.deploy(gpus=1)
    gpu_inventory.follow(worker.id, info(device(0), device(1, lost=True)), {}, world.now)
    machine = workers.get(worker.id)
    assert (machine.claims, machine.gpu_info.devices[1].lost) == ({"0": deployment}, True)


def test_a_lost_gpu_is_given_to_nobody_and_a_deployment_says_what_it_waits_for(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2, journal_id="j")
    worker.beat(gpu_info=body(info(device(0, lost=True), device(1))))
    first, second = world.deploy(gpus=1), world.deploy(gpus=1)
    world.pass_(1)  # the first to wait is the first to be placed
    pinned = world.deploy(gpus=[0])
    assert world.see(first).gpu_indexes == [1]
    assert "GPU 0 of gpu-1 is lost" in (world.see(second).message or "")
    assert "GPU 0 of gpu-1 is lost" in (world.see(pinned).message or "")
    worker.beat(gpu_info=body(info(device(0), device(1))))
    assert world.see(second).gpu_indexes == [0]
    assert world.see(pinned).worker_id is None


def test_what_holds_a_lost_gpu_holds_it_while_it_may_run_there(world: PlaneWorld) -> None:
    worker = world.worker(gpus=1, journal_id="j")
    holder = world.deploy(gpus=1)
    worker.run(holder)
    for gone in (info(device(0, lost=True)), info(), info(device(0))):
        worker.beat(gpu_info=body(gone))
        assert workers.get(worker.id).claims == {"0": holder}
        assert world.see(holder).status == "running"


@pytest.mark.parametrize("journal_id", [None, "j"])
def test_a_deploy_that_was_never_sent_is_placed_anew_when_its_gpu_is_lost(
    world: PlaneWorld, journal_id: str | None
) -> None:
    worker = world.worker(gpus=2, journal_id=journal_id)
    world.pass_(200)
    pinned, by_index = world.deploy(gpus=1, worker_id=worker.id), world.deploy(gpus=[1], worker_id=worker.id)
    assert world.see(pinned).gpu_indexes == [0], "a pinned worker is taken while it is silent"
    worker.register(gpu_info=body(info(device(0, lost=True), device(1, lost=True), device(2))))
    sent = [each for _ in range(2) for each in worker.beat().commands]
    assert [each.deployment_id for each in sent if isinstance(each, m.Deploy)] == [pinned]
    assert world.see(pinned).gpu_indexes == [2]
    assert (world.see(by_index).worker_id, workers.get(worker.id).claims) == (None, {"2": pinned})
    assert "GPU 1 of gpu-1 is lost" in (world.see(by_index).message or "")


def orphans(*gpus: int) -> list[dict[str, Any]]:
    return [{"deployment_id": "somebody", "gpus": list(gpus)}]


def test_an_agents_orphan_keeps_its_gpus_from_others(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2, journal_id="j")
    worker.active = ["somebody"]
    worker.beat(orphans=orphans(0))
    first, second = world.deploy(gpus=1), world.deploy(gpus=1)
    assert world.see(first).gpu_indexes == [1]
    assert "GPU 0 of gpu-1 is in use by somebody, which runs there" in (world.see(second).message or "")
    worker.active = []
    worker.beat()
    assert world.see(second).gpu_indexes == [0]


def test_an_orphan_without_gpus_is_in_nobodys_way(world: PlaneWorld) -> None:
    worker = world.worker(gpus=1, journal_id="j")
    worker.active = ["somebody"]
    worker.beat(orphans=orphans())
    assert world.see(world.deploy(gpus=1)).gpu_indexes == [0]


def test_what_another_worker_of_this_host_left_there_is_an_orphan_too(world: PlaneWorld) -> None:
    worker = world.worker(gpus=1, journal_id="j")
    worker.beat(orphans=orphans(0))
    assert admin.get(worker.id, world.now).orphans == ["somebody"]
    assert world.see(world.deploy(gpus=1)).worker_id is None


def test_an_orphan_of_a_basic_client_may_use_any_gpu(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    worker.active = ["somebody"]
    worker.beat()
    waiting, without = world.deploy(gpus=1), world.deploy(gpus=0)
    assert "GPU 0, 1 of gpu-1 are perhaps in use by somebody" in (world.see(waiting).message or "")
    assert world.see(without).worker_id == worker.id, "what needs no GPU is not held up"
    worker.active = []
    assert worker.types().count("deploy") == 2


def test_what_was_placed_before_an_orphan_was_seen_is_not_sent_to_its_gpu(world: PlaneWorld) -> None:
    """As where a worker is removed by force and its host joins again: what waits is placed when it registers."""
    waiting = world.deploy(gpus=1)
    worker = world.worker(gpus=1)
    assert world.see(waiting).worker_id == worker.id
    worker.active = ["somebody"]
    assert worker.types() == []
    assert (world.see(waiting).worker_id, workers.get(worker.id).claims) == (None, {})
    assert "perhaps in use by somebody" in (world.see(waiting).message or "")
    worker.active = []
    assert worker.types() == ["deploy"]


def test_an_orphan_is_seen_although_the_function_was_killed_before(world: PlaneWorld) -> None:
    """Whatever call it is killed at, the next heartbeat brings the same result, and nothing stays reserved."""
    for calls in range(30):
        worker = world.worker(f"host-{calls}", gpus=1)
        worker.active = ["somebody"]
        with world.database.killed_after(calls), contextlib.suppress(Killed):
            worker.beat()
        worker.beat()
        assert workers.get(worker.id).unusable, calls
        worker.active = []
        with world.database.killed_after(calls), contextlib.suppress(Killed):
            worker.beat()
        worker.beat()
        assert not workers.get(worker.id).unusable, calls


def test_nothing_is_placed_on_a_gpu_that_was_lost_since_its_worker_was_read(world: PlaneWorld) -> None:
    worker = world.worker(gpus=2)
    world.pass_(100)
    first, second = world.deploy(gpus=1), world.deploy(gpus=1)
    worker.beat()
    with world.database.counting() as calls:
        scheduler.place(first, world.now)
    before = [name for name, _ in calls].index("TransactWriteItems")
    told = info(device(0), device(1, lost=True))

    def lose() -> None:
        WorkerRecord(worker.id, part="cold").update(
            actions=[WorkerRecord.gpu_info.set(msgspec.json.encode(told).decode())]
        )

    with world.database.overtaken_after(before, lose):
        scheduler.place(second, world.now)
        assert world.database.overtake is None
    assert (world.see(first).gpu_indexes, world.see(second).gpu_indexes) == ([0], [])
    assert "GPU 1 of gpu-1 is lost" in (world.see(second).message or "")
