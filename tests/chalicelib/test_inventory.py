"""A worker's GPUs follow its host, and its timeline says what changed."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib import fleet, inventory
from chalicelib.contract import messages as m
from chalicelib.tables import Cold
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
    assert list(inventory.changed(before, after)) == clauses


def test_news_in_a_heartbeat_is_stored_and_told_once(world: PlaneWorld) -> None:
    worker = world.worker(gpus=0, journal_id="j")
    news = body(info(device(0), device(1)))
    for _ in range(3):
        worker.beat(gpu_info=news)
    assert fleet.get(worker.id).devices == (0, 1)
    worker.beat()
    assert fleet.get(worker.id).devices == (0, 1), "a heartbeat without news changes nothing"
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
    inventory.store("nobody", info(device(0)), world.now)
    assert not list(Cold.query("nobody"))


def test_news_survives_a_placement_at_the_same_time(world: PlaneWorld) -> None:
    """The claims are in the same item: neither undoes the other."""
    worker = world.worker(gpus=2)
    deployment = world.deploy(gpus=1)
    inventory.store(worker.id, info(device(0), device(1, lost=True)), world.now)
    machine = fleet.get(worker.id)
    assert (machine.claims, machine.gpu_info.devices[1].lost) == ({"0": deployment}, True)
