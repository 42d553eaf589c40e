"""What NVIDIA's driver says of this host's GPUs at this moment. The only import of pynvml.

NVML keeps state for the whole process: it lists the devices that were there when it was initialized, and a library that
was loaded stays loaded. So it is initialized again where the driver failed, a device does not answer, or the kernel's
list of devices has changed. While all is well it stays initialized, since the last one to let go of it puts the GPUs to
sleep. Calls of NVML may hang; one lock serves all threads, and the heartbeat never takes it.
"""

from __future__ import annotations

import _ctypes
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

import pynvml

from chalicelib.contract.messages import GpuProcess

MOST_DEVICES = 64
MOST_PROCESSES = 64
"""How many processes of a GPU are reported at most."""
RENEWED_AFTER = 60.0
"""Seconds between two attempts to have NVML list the devices anew while one of them does not answer."""
KERNEL_LIST = Path("/proc/driver/nvidia/gpus")
PCI_DEVICES = Path("/sys/bus/pci/devices")
NVIDIA, DISPLAYS = "0x10de", "0x03"

_DRIVER_FAILED = frozenset(
    {
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_LIBRARY_NOT_FOUND,
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    }
)
"""Errors that are about no single device."""
_UNTOLD = frozenset(
    {
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_NO_PERMISSION,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_NO_DATA,
    }
)
"""Errors of a device that is well, and does not tell this one figure: common with MIG, WSL, and in containers."""


class DriverError(Exception):
    """NVML does not answer for any device; the message is NVML's own."""


@dataclass(frozen=True)
class Listed:
    """A device at its `position` in NVML's list, which is the order of the PCI bus. `memory` is in bytes.

    `error` is NVML's, where the device does not answer: it fell off the bus, or has to be reset.
    """

    position: int
    handle: Any = None
    uuid: str | None = None
    name: str = ""
    memory: int = 0
    error: str | None = None


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
                self._end(error)
                raise DriverError(str(error)) from error

    def renew(self, troubled: bool) -> bool:
        """Initialize again where that may change the list of devices: at once if the kernel's list has changed, and
        from time to time while a device is in trouble. Whether that was done. Raises NVMLError."""
        changed = _kernel_list() != self._kernel_list
        if not changed and not (troubled and self._clock() - self._renewed_at >= RENEWED_AFTER):
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

    def _end(self, error: Any) -> None:
        self._shut_down()
        if error.value == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH and pynvml.nvmlLib is not None:
            # The driver was upgraded under this process: only a library that is loaded afresh fits the new one.
            library, pynvml.nvmlLib = pynvml.nvmlLib, None
            pynvml._nvmlGetFunctionPointer_cache.clear()
            _ctypes.dlclose(library._handle)


_driver = _Driver()


def listing() -> list[Listed]:
    """The devices in the order of the PCI bus, those that do not answer included. Raises DriverError."""
    with _driver.initialized():
        found = _list()
        troubled = not found or any(each.error for each in found)
        return _list() if _driver.renew(troubled) else found


def versions() -> tuple[str | None, str | None]:
    """The driver's version, and the newest CUDA that it supports ("13.0"). Raises DriverError."""
    with _driver.initialized():
        cuda = _figure("nvmlSystemGetCudaDriverVersion_v2")
        return _figure("nvmlSystemGetDriverVersion"), f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None


@dataclass(frozen=True)
class Figures:
    """What a device uses now: bytes, percent, degrees Celsius, watts. None is what it does not tell."""

    memory_used: int
    utilization: float
    temperature: float | None = None
    power: float | None = None
    processes: tuple[GpuProcess, ...] = ()


def figures(
    device: Listed, closely: bool, process_name: Callable[[int], str], container_of: Callable[[int], str | None]
) -> Figures | None:
    """None where the device does not answer. `closely` adds what takes longer. Raises DriverError."""
    with _driver.initialized():
        memory = _figure("nvmlDeviceGetMemoryInfo", device.handle) if device.error is None else None
        if memory is None:
            return None
        rates = _figure("nvmlDeviceGetUtilizationRates", device.handle)
        brief = Figures(memory.used, getattr(rates, "gpu", 0))
        if not closely:
            return brief
        milliwatts = _figure("nvmlDeviceGetPowerUsage", device.handle)
        largest = _processes(device.handle)[:MOST_PROCESSES]
        return Figures(
            memory_used=brief.memory_used,
            utilization=brief.utilization,
            temperature=_figure("nvmlDeviceGetTemperature", device.handle, pynvml.NVML_TEMPERATURE_GPU),
            power=None if milliwatts is None else milliwatts / 1000,
            processes=tuple(GpuProcess(pid, used, process_name(pid), container_of(pid)) for pid, used in largest),
        )


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
    return sorted(each.name for each in _entries(KERNEL_LIST))


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _list() -> list[Listed]:
    """Raises NVMLError where that is about no single device."""
    return [_device(position) for position in range(min(pynvml.nvmlDeviceGetCount(), MOST_DEVICES))]


def _device(position: int) -> Listed:
    handle = None
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(position)
        memory = _unless_untold("nvmlDeviceGetMemoryInfo", handle)
        return Listed(
            position,
            handle,
            uuid=_unless_untold("nvmlDeviceGetUUID", handle),
            name=_unless_untold("nvmlDeviceGetName", handle) or "",
            memory=getattr(memory, "total", 0),
        )
    except pynvml.NVMLError as error:
        if error.value in _DRIVER_FAILED:
            raise
        # A device that does not answer may still have a readable UUID.
        uuid = _figure("nvmlDeviceGetUUID", handle) if handle is not None else None
        return Listed(position, handle, uuid=uuid, error=f"{error} (NVML error {error.value})")


def _unless_untold(question: str, *arguments: Any) -> Any:
    """NVML's answer; None for what a device that is well does not tell. Raises NVMLError."""
    try:
        return getattr(pynvml, question)(*arguments)
    except pynvml.NVMLError as error:
        if error.value in _UNTOLD:
            return None
        raise


def _figure(question: str, *arguments: Any) -> Any:
    """NVML's answer; None where there is none for whatever reason."""
    try:
        return getattr(pynvml, question)(*arguments)
    except pynvml.NVMLError:
        return None


def _processes(handle: Any) -> list[tuple[int, int]]:
    """Pid and bytes of each process with memory on a device, the largest first; some drivers do not tell the bytes."""
    memory: dict[int, int] = {}
    for question in ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses"):
        # By version, as drivers before 510 know the second alone and pynvml's unversioned names raise something else.
        for each in _figure(f"{question}_v3", handle) or _figure(f"{question}_v2", handle) or []:
            memory[each.pid] = max(memory.get(each.pid, 0), each.usedGpuMemory or 0)
    return sorted(memory.items(), key=lambda entry: -entry[1])
