"""One question to NVML at a time, and answers that can be passed on as they are.

Any question may be answered with an error, on a device that works: in containers, in virtual machines, under WSL, with
MIG, and with memory that a GPU shares with the host. Any text may be bytes that are no text, and any number may be out
of range. What a driver does not answer in a readable form is None, never 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pynvml

from muster_agent.gpus.quantization import Capability

MAX_BYTES = 2**53
"""A number of bytes that a control plane accepts; anything larger is no size."""
MOST_CELSIUS, MOST_MILLIWATTS = 500, 100_000_000

DRIVER_FAILED = frozenset(
    {
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_LIBRARY_NOT_FOUND,
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    }
)
"""Errors that concern no single device."""
LOST = frozenset({pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED})
"""Errors of a device that is lost, whichever question they answer."""
_UNANSWERED = frozenset(
    {
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_NO_PERMISSION,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_NO_DATA,
    }
)
"""Errors of a device that works, and does not have this one figure."""
_UUID = re.compile(r"[A-Za-z0-9][A-Za-z0-9./:_-]{0,127}")


@dataclass(frozen=True)
class Memory:
    """Bytes of a device; None is unknown. `shared`: the device has no memory of its own, and uses the host's."""

    total: int | None = None
    used: int | None = None
    shared: bool = False


def error_text(error: pynvml.NVMLError) -> str:
    """NVML's words for an error, with its number where NVML itself has no readable words."""
    try:
        return str(error)
    except (UnicodeDecodeError, ValueError):  # the words come from the library, as bytes
        return f"NVML error {error.value}"


def figure(question: str, *arguments: Any) -> Any:
    """NVML's answer; None where there is no readable one, for whatever reason."""
    try:
        return getattr(pynvml, question)(*arguments)
    except (pynvml.NVMLError, UnicodeDecodeError):
        return None


def detail(question: str, *arguments: Any) -> Any:
    """As `figure`, for what a device can do without. Raises NVMLError where the device, or all of NVML, is lost."""
    try:
        return getattr(pynvml, question)(*arguments)
    except UnicodeDecodeError:
        return None
    except pynvml.NVMLError as error:
        if error.value in DRIVER_FAILED | LOST:
            raise
        return None


def name(handle: Any) -> str:
    """The device's name; "" where it cannot be read. Raises NVMLError as `detail` does."""
    found = detail("nvmlDeviceGetName", handle)
    return found[:256] if isinstance(found, str) and found.isprintable() else ""


def uuid(handle: Any) -> str | None:
    """The device's UUID, by which engines are asked for it. Raises NVMLError as `detail` does."""
    return _uuid(detail("nvmlDeviceGetUUID", handle))


def uuid_of_lost(handle: Any) -> str | None:
    """Its name plate may still be readable, although the device is not."""
    return _uuid(figure("nvmlDeviceGetUUID", handle))


def _uuid(found: object) -> str | None:
    return found if isinstance(found, str) and _UUID.fullmatch(found) else None


def driver_version() -> str | None:
    found = figure("nvmlSystemGetDriverVersion")
    return found[:64] if isinstance(found, str) and found and found.isprintable() else None


def cuda_version() -> str | None:
    """The newest that the driver supports: "13.0"."""
    found = figure("nvmlSystemGetCudaDriverVersion_v2")
    return f"{found // 1000}.{found % 1000 // 10}" if found and 0 < found < 10**6 else None


def memory(handle: Any) -> Memory:
    """Raises NVMLError where the answer is an error of a device that does not work."""
    try:
        answer = pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError as error:
        if error.value not in _UNANSWERED:
            raise
        # Every GPU that has memory of its own tells it; permission is a matter of containers and MIG.
        return Memory(shared=error.value == pynvml.NVML_ERROR_NOT_SUPPORTED)
    total = bounded(answer.total, MAX_BYTES)
    return Memory(total, bounded(answer.used, total)) if total else Memory()


def capability(handle: Any) -> Capability | None:
    """CUDA's compute capability, (9, 0) of an H200."""
    found = figure("nvmlDeviceGetCudaComputeCapability", handle)
    return (int(found[0]), int(found[1])) if found else None


def utilization(handle: Any) -> int | None:
    """Percent."""
    return bounded(getattr(figure("nvmlDeviceGetUtilizationRates", handle), "gpu", None), 100)


def temperature(handle: Any) -> int | None:
    """Degrees Celsius."""
    return bounded(figure("nvmlDeviceGetTemperature", handle, pynvml.NVML_TEMPERATURE_GPU), MOST_CELSIUS)


def power(handle: Any) -> float | None:
    """Watts."""
    milliwatts = bounded(figure("nvmlDeviceGetPowerUsage", handle), MOST_MILLIWATTS)
    return None if milliwatts is None else milliwatts / 1000


def has_mig(handle: Any) -> bool:
    """Whether MIG is enabled, so that only the device's MIG devices can be used. Raises NVMLError as `detail` does."""
    modes = detail("nvmlDeviceGetMigMode", handle)
    return bool(modes) and modes[0] == pynvml.NVML_DEVICE_MIG_ENABLE


def mig_handles(handle: Any, most: int) -> list[Any]:
    """The MIG devices that can be seen from here; their places need not follow one another. Raises as `detail` does."""
    places = detail("nvmlDeviceGetMaxMigDeviceCount", handle) or 0
    found = (detail("nvmlDeviceGetMigDeviceHandleByIndex", handle, place) for place in range(min(places, most)))
    return [process for process in found if process is not None]


def processes(handle: Any) -> list[tuple[int, int | None]] | None:
    """Pid and bytes of each process with memory on a device, the largest first; None where they cannot be listed.

    Some drivers list processes without their bytes, which are then None.
    """
    listed = False
    found: dict[int, int | None] = {}
    for question in ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses"):
        # By version, as drivers before 510 know the second alone and pynvml's unversioned names raise something else.
        answer = figure(f"{question}_v3", handle)
        if answer is None:
            answer = figure(f"{question}_v2", handle)
        listed = listed or answer is not None
        for process in answer or []:
            used = bounded(process.usedGpuMemory, MAX_BYTES)
            before = found.get(process.pid)
            found[process.pid] = used if before is None else max(before, used or 0)
    return sorted(found.items(), key=lambda entry: -(entry[1] or 0)) if listed else None


def bounded(value: int | None, most: int | None) -> int | None:
    """`value` where it is between 0 and `most`; a number beyond that is no measurement."""
    return value if value is not None and most is not None and 0 <= value <= most else None
