"""What NVIDIA's driver says of this host's GPUs at this moment: its state in this process, and the devices.

NVML keeps state for the whole process: it lists the devices that were there when it was initialized, and a library that
was loaded stays loaded. So it is initialized again where the driver failed, a device does not answer, or the kernel's
list of devices has changed. While all is well it stays initialized, since the last one to let go of it puts the GPUs to
sleep. Calls of NVML may hang; one lock serves all threads, and the heartbeat never takes it.
"""

from __future__ import annotations

import _ctypes
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from threading import RLock
from typing import Any

import pynvml

from muster.api.messages import GpuProcess
from muster_agent.gpus import nvml_reads as reads
from muster_agent.gpus.quantization import Capability

log = logging.getLogger(__name__)

MAX_DEVICES = 64
MAX_PROCESSES = 64
"""How many processes of a GPU are reported at most."""
RENEW_AFTER_SECONDS = 60.0
"""Seconds between two attempts to have NVML list the devices anew while one of them does not answer."""
KERNEL_LIST = Path("/proc/driver/nvidia/gpus")
PCI_DEVICES = Path("/sys/bus/pci/devices")
NVIDIA, DISPLAYS = "0x10de", "0x03"

NO_MIG_DEVICE = "MIG is enabled on it, and it has no MIG device"
NO_MIG_UUID = "NVML does not report the UUID of this MIG device, which is the only name that it can be asked for by"


class DriverError(Exception):
    """NVML does not answer for any device; the message is NVML's own, `code` its number where it has one."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Listed:
    """A device at its `position` in NVML's list, which is the order of the PCI bus. `memory` is in bytes, None unknown.

    `shared`: its memory is the host's. `mig`: it is a MIG device, of the GPU at `position`. `error` says why it cannot
    be used: it fell off the bus, has to be reset, may not be opened, or is a GPU with MIG enabled and no MIG device.
    """

    position: int
    handle: Any = None
    uuid: str | None = None
    name: str = ""
    memory: int | None = None
    error: str | None = None
    shared: bool = False
    mig: bool = False
    capability: Capability | None = None


class _Driver:
    """NVML's state in this process. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.lock = RLock()
        self._clock = clock
        self._ready = False
        self._renewed_at = float("-inf")
        self._kernel_list: list[str] = []

    @contextmanager
    def initialized(self) -> Iterator[None]:
        """Raises DriverError; after one the next use begins anew."""
        with self.lock:
            try:
                self._initialize()
                yield
            except pynvml.NVMLError as error:
                self._end(error.value)
                raise DriverError(reads.error_text(error), error.value) from error
            except Exception as error:
                # The library may be anything that has its name, and pynvml decodes and loads it by itself: neither the
                # agent nor doctor ends over what it raises then.
                log.debug("NVML failed in a way of its own", exc_info=True)
                self._end(None)
                raise DriverError(f"{type(error).__name__}: {error}") from error

    def renew(self, troubled: bool) -> bool:
        """Initialize again where that may change the list of devices: at once if the kernel's list has changed, and
        from time to time while a device is in trouble. Whether that was done. Raises NVMLError."""
        changed = _kernel_list() != self._kernel_list
        if not changed and not (troubled and self._clock() - self._renewed_at >= RENEW_AFTER_SECONDS):
            return False
        self._renewed_at = self._clock()
        self._shut_down()
        self._initialize()
        return True

    def _initialize(self) -> None:
        if not self._ready:
            self._kernel_list = _kernel_list()
            pynvml.nvmlInit()
            self._ready = True

    def _shut_down(self) -> None:
        if self._ready:
            self._ready = False
            with suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()

    def _end(self, code: int | None) -> None:
        self._shut_down()
        if code == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH and pynvml.nvmlLib is not None:
            # The driver was upgraded under this process: only a library that is loaded afresh fits the new one.
            library, pynvml.nvmlLib = pynvml.nvmlLib, None
            pynvml._nvmlGetFunctionPointer_cache.clear()
            _ctypes.dlclose(library._handle)


_driver = _Driver()


def listing() -> list[Listed]:
    """The devices in the order of the PCI bus, those that do not answer included. Raises DriverError."""
    with _driver.initialized():
        found = _list()
        troubled = not found or any(device.error for device in found)
        return _list() if _driver.renew(troubled) else found


def versions() -> tuple[str | None, str | None]:
    """The driver's version, and the newest CUDA that it supports ("13.0"). Raises DriverError."""
    with _driver.initialized():
        return reads.driver_version(), reads.cuda_version()


@dataclass(frozen=True)
class Figures:
    """What a device uses now: bytes, percent, degrees Celsius, watts. None is what it does not tell."""

    memory_used: int | None = None
    utilization: float | None = None
    temperature: float | None = None
    power: float | None = None
    processes: tuple[GpuProcess, ...] | None = None


def figures(
    device: Listed, closely: bool, process_name: Callable[[int], str], container_of: Callable[[int], str | None]
) -> Figures | None:
    """None where the device does not answer. `closely` adds what takes longer. Raises DriverError."""
    if device.error is not None:
        return None
    with _driver.initialized():
        try:
            memory = reads.memory(device.handle)
        except pynvml.NVMLError as error:
            if error.value in reads.DRIVER_FAILED:
                raise
            return None
        found = reads.processes(device.handle) if closely or device.shared else None
        brief = Figures(_sum(found) if device.shared else memory.used, reads.utilization(device.handle))
        if not closely:
            return brief
        largest = None if found is None else found[:MAX_PROCESSES]
        return replace(
            brief,
            temperature=reads.temperature(device.handle),
            power=reads.power(device.handle),
            processes=None
            if largest is None
            else tuple(GpuProcess(pid, used, process_name(pid), container_of(pid)) for pid, used in largest),
        )


def _sum(processes: list[tuple[int, int | None]] | None) -> int | None:
    """What processes have together of memory that is the host's; None where that of one is unknown."""
    known = [used for _, used in processes or () if used is not None]
    if processes is None or len(known) < len(processes):
        return None
    return reads.bounded(sum(known), reads.MAX_BYTES)


def hardware(kernel_list: Path = KERNEL_LIST, pci_devices: Path = PCI_DEVICES) -> bool:
    """Whether the kernel knows NVIDIA GPUs on this host, with or without a driver.

    One that was handed to a virtual machine (vfio-pci) is not this host's.
    """
    return bool(_entries(kernel_list)) or any(map(_is_nvidia_gpu, _entries(pci_devices)))


def _is_nvidia_gpu(device: Path) -> bool:
    try:
        vendor, kind = ((device / name).read_text().strip() for name in ("vendor", "class"))
        driver = (device / "driver").resolve().name
    except OSError:
        return False
    return vendor == NVIDIA and kind.startswith(DISPLAYS) and driver != "vfio-pci"


def _kernel_list() -> list[str]:
    return sorted(entry.name for entry in _entries(KERNEL_LIST))


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _list() -> list[Listed]:
    """Raises NVMLError where that concerns no single device."""
    positions = range(min(pynvml.nvmlDeviceGetCount(), MAX_DEVICES))
    return list(islice(chain.from_iterable(map(_devices, positions)), MAX_DEVICES))


def _devices(position: int) -> list[Listed]:
    """The GPU at a position, or its MIG devices. Raises NVMLError where that concerns no single device."""
    handle = None
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(position)
        if not reads.has_mig(handle):
            return [_device(position, handle)]
        capability = reads.capability(handle)
        parts = (_mig_device(position, part) for part in reads.mig_handles(handle, MAX_DEVICES))
        found = [replace(part, capability=capability) for part in parts]
        return found or [replace(_device(position, handle), error=NO_MIG_DEVICE)]
    except pynvml.NVMLError as error:
        if error.value in reads.DRIVER_FAILED:
            raise
        if handle is None and error.value == pynvml.NVML_ERROR_FUNCTION_NOT_FOUND:
            raise  # a library that is too old has no device at all
        if handle is None and error.value == pynvml.NVML_ERROR_INVALID_ARGUMENT:
            return []  # the list has become shorter since it was counted
        return [_troubled(position, handle, error)]


def _device(position: int, handle: Any) -> Listed:
    """Raises NVMLError where the device does not answer."""
    memory = reads.memory(handle)
    return Listed(
        position,
        handle,
        reads.uuid(handle),
        reads.name(handle),
        memory.total,
        shared=memory.shared,
        capability=reads.capability(handle),
    )


def _mig_device(position: int, handle: Any) -> Listed:
    """Raises NVMLError where that concerns no single device."""
    try:
        found = replace(_device(position, handle), shared=False, mig=True)
    except pynvml.NVMLError as error:
        if error.value in reads.DRIVER_FAILED:
            raise
        return replace(_troubled(position, handle, error), mig=True)
    return found if found.uuid is not None else replace(found, error=NO_MIG_UUID)


def _troubled(position: int, handle: Any, error: Any) -> Listed:
    uuid = reads.uuid_of_lost(handle) if handle is not None else None
    return Listed(position, handle, uuid=uuid, error=f"{reads.error_text(error)} (NVML error {error.value})")
