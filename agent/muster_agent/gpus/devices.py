"""This host's GPUs by the indexes that the control plane knows them by, with what each of them uses."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import RLock

from muster.api.messages import GpuDevice, GpuInfo, GpuUsage
from muster_agent.gpus import nvml
from muster_agent.gpus.cuda import Driver
from muster_agent.gpus.gpu_usage import Gpu, Holder
from muster_agent.gpus.indexes import GpuIndexes, Known
from muster_agent.gpus.quantization import Capability
from muster_agent.host.facts import container_of, process_name


@dataclass(frozen=True)
class DeviceSnapshot:
    """One look at all devices. `lost` are those that NVML lists and that cannot be used, by index, with the reason;
    `gone` are those that it no longer lists, `shared` the indexes of those whose memory is the host's. `capabilities`
    are CUDA's, by index, where they are told. `failure` is why NVML does not answer at all, `code` its number of that.
    """

    info: GpuInfo
    usage: list[GpuUsage] = field(default_factory=list)
    lost: dict[int, str] = field(default_factory=dict)
    gone: list[Known] = field(default_factory=list)
    failure: str | None = None
    code: int | None = None
    shared: frozenset[int] = frozenset()
    capabilities: dict[int, Capability] = field(default_factory=dict)

    @property
    def usable(self) -> set[int]:
        return {device.index for device in self.info.devices if not device.lost}


class Devices:
    """Used by any thread. A call waits for as long as the driver does."""

    def __init__(self, numbers: GpuIndexes | None = None) -> None:
        self._numbers = numbers or GpuIndexes()
        self._lock = RLock()

    @property
    def known(self) -> list[Known]:
        """Every GPU that has an index here, by index: also one that is gone."""
        return self._numbers.known

    def forget(self, gone: list[Known]) -> None:
        """Give the indexes of GPUs that were taken out to others."""
        with self._lock:
            for known in gone:
                self._numbers.forget(known.index)

    def read(self, closely: bool = False) -> DeviceSnapshot:
        """A host without a GPU or a driver has none. `closely` adds temperature, power, and processes."""
        with self._lock:
            try:
                return self._look(closely)
            except nvml.DriverError as error:
                return DeviceSnapshot(GpuInfo(0), failure=str(error), code=error.code)

    def driver(self) -> Driver | None:
        """None on a host without a GPU, or whose driver does not answer."""
        device = next(iter(self.read().info.devices), None)
        if device is None or device.driver_version is None or device.cuda_version is None:
            return None
        return Driver(device.driver_version, device.cuda_version)

    def gpus(self) -> list[Gpu]:
        """Every GPU that has an index here, with who holds its memory; why it cannot be used where that is so."""
        with self._lock:
            snapshot = self.read(closely=True)
            usage = {reading.index: reading for reading in snapshot.usage}
            positions = {known.index: known.position for known in self.known}
            found = [_gpu(device, usage.get(device.index), positions, snapshot) for device in snapshot.info.devices]
            there = {gpu.index for gpu in found}
            why = f"NVML does not answer: {snapshot.failure}" if snapshot.failure else "NVML no longer lists it"
            missing = [known for known in self.known if known.index not in there]
            found += [Gpu(known.index, known.memory or None, None, uuid=known.uuid, lost=why) for known in missing]
            return sorted(found, key=lambda gpu: gpu.index)

    def _look(self, closely: bool) -> DeviceSnapshot:
        found = self._numbers.assign(nvml.listing())
        driver, cuda = nvml.versions() if found else (None, None)
        usage, lost, devices = [], {}, []
        for index, listed in found.items():
            known = self._numbers.at(index)
            figures = nvml.figures(listed, closely, process_name, container_of)
            if figures is not None:
                usage.append(_usage(index, figures, closely))
            if listed.error is not None:
                lost[index] = listed.error
            devices.append(
                GpuDevice(
                    index=index,
                    name=listed.name or (known.name if known else ""),
                    memory_total=listed.memory or (known.memory if known else None) or None,
                    cuda_version=cuda,
                    uuid=listed.uuid or (known.uuid if known else None),
                    driver_version=driver,
                    lost=listed.error is not None,
                )
            )
        gone = [known for known in self.known if known.index not in found]
        shared = frozenset(index for index, listed in found.items() if listed.shared)
        able = {index: listed.capability for index, listed in found.items() if listed.capability is not None}
        return DeviceSnapshot(GpuInfo(len(devices), devices), usage, lost, gone, shared=shared, capabilities=able)


def _usage(index: int, figures: nvml.Figures, closely: bool) -> GpuUsage:
    usage = GpuUsage(index=index, memory_used=figures.memory_used, utilization=figures.utilization)
    if closely:
        usage.temperature, usage.power = figures.temperature, figures.power
        usage.processes = None if figures.processes is None else list(figures.processes)
    return usage


def _gpu(device: GpuDevice, usage: GpuUsage | None, positions: dict[int, int], snapshot: DeviceSnapshot) -> Gpu:
    processes = (usage.processes or []) if usage else []
    return Gpu(
        index=device.index,
        total=device.memory_total,
        used=usage.memory_used if usage else None,
        holders=tuple(Holder(process.pid, process.memory, process.name, process.container) for process in processes),
        uuid=device.uuid,
        position=positions.get(device.index, device.index),
        lost=snapshot.lost.get(device.index),
        shared=device.index in snapshot.shared,
        capability=snapshot.capabilities.get(device.index),
    )
