"""Figures are at hand, whatever hangs."""

from __future__ import annotations

from pathlib import Path
from threading import Event

from muster.api.messages import Disk, GpuDevice, GpuInfo, GpuUsage
from muster_agent.conditions import Conditions
from muster_agent.gpus.devices import Devices, DeviceSnapshot
from muster_agent.gpus.gpu_watch import GpuWatch
from muster_agent.gpus.sampler import Sampler
from muster_agent.host import facts
from tests.fixtures.agent_world import DISK, Clock
from tests.fixtures.waiting import eventually

ONE = DeviceSnapshot(GpuInfo(1, [GpuDevice(0)]), [GpuUsage(0)])


class Switched(Devices):
    """GPUs as a test sets them."""

    sight = ONE
    blocked: Event | None = None
    broken = 0

    def read(self, closely: bool = False) -> DeviceSnapshot:
        if self.blocked:
            self.blocked.wait()
        if self.broken:
            self.broken -= 1
            raise ValueError("something that nobody thought of")
        return self.sight


def poller(devices: Devices) -> GpuWatch:
    clock = Clock()
    return GpuWatch(devices, Conditions(clock), clock, lambda: False)


def test_a_sampler_answers_at_once_and_then_has_figures(tmp_path: Path) -> None:
    devices = Switched()
    gpus = poller(devices)
    sampler = Sampler(lambda: facts.disk(tmp_path), gpus, every=0.05)
    assert sampler.latest() == ([], None)
    sampler.start()
    try:
        disk = eventually(lambda: sampler.latest()[1])
        eventually(lambda: sampler.latest()[0] == [GpuUsage(0)])
        devices.sight = DeviceSnapshot(GpuInfo(2, [GpuDevice(0), GpuDevice(1)]))
        eventually(lambda: gpus.info == devices.sight.info)
    finally:
        sampler.stop()
    assert disk is not None and disk.total > 0


def test_a_driver_that_hangs_holds_up_neither_the_disk_nor_who_asks() -> None:
    devices = Switched()
    devices.blocked = Event()
    sampler = Sampler(lambda: DISK, poller(devices), every=0.05)
    sampler.start()
    try:
        assert eventually(lambda: sampler.latest()[1]) == DISK
        assert not sampler.wait(0)
        devices.blocked.set()
        eventually(lambda: sampler.wait(0))
    finally:
        devices.blocked.set()
        sampler.stop()


def test_a_disk_that_hangs_holds_up_no_gpu() -> None:
    blocked = Event()

    def hangs() -> Disk:
        blocked.wait()
        return DISK

    sampler = Sampler(hangs, poller(Switched()), every=0.05)
    sampler.start()
    try:
        eventually(lambda: sampler.latest()[0] == [GpuUsage(0)])
        assert sampler.latest()[1] is None
    finally:
        blocked.set()
        sampler.stop()


def test_a_look_that_fails_is_followed_by_the_next() -> None:
    devices = Switched()
    devices.broken = 2
    sampler = Sampler(lambda: DISK, poller(devices), every=0.05)
    sampler.start()
    try:
        eventually(lambda: sampler.latest()[0] == [GpuUsage(0)])
    finally:
        sampler.stop()


def test_a_sampler_without_a_disk_that_answers_has_no_figures_of_it() -> None:
    def broken() -> Disk:
        raise OSError

    sampler = Sampler(broken, poller(Switched()))
    sampler.sample_disk()
    assert sampler.latest()[1] is None
