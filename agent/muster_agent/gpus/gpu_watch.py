"""Follows the host's GPUs while the agent runs: a driver that comes later, a GPU that is lost, gone, or back.

What a look loses is believed when the next look, a second later, finds the same; what it finds is believed at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from muster.api.conditions import ConditionType
from muster.api.messages import GpuInfo, GpuUsage
from muster_agent.conditions import Conditions
from muster_agent.gpus import nvml
from muster_agent.gpus.devices import Devices, DeviceSnapshot
from muster_agent.gpus.driver_advice import for_device, for_driver
from muster_agent.gpus.indexes import Known

DRIVER_HUNG_AFTER_SECONDS = 30.0
"""Seconds after which a driver that has not answered is a condition; after a boot the first answer may take ten."""
DRIVER_HUNG_MESSAGE = (
    f"NVIDIA's driver has not answered for more than {DRIVER_HUNG_AFTER_SECONDS:.0f} s: look for NVRM and Xid in dmesg;"
    " what hangs in the driver ends with a reboot"
)
DRIVER, LOST = ConditionType.GPU_DRIVER_UNAVAILABLE, ConditionType.GPU_LOST


class GpuWatch:
    """`step` is the sampler's; the rest never waits. `clock` is monotonic; `hardware` whether there should be GPUs."""

    def __init__(
        self,
        devices: Devices,
        conditions: Conditions,
        clock: Callable[[], float],
        hardware: Callable[[], bool] = nvml.hardware,
        forget_gone: bool = False,
    ) -> None:
        self._devices = devices
        self._conditions = conditions
        self._clock = clock
        self._hardware = hardware
        self._forget_gone = forget_gone
        self._asked_at: float | None = None
        self._doubted: GpuInfo | None = None
        self._believed: DeviceSnapshot | None = None
        self._usage: list[GpuUsage] = []

    @property
    def info(self) -> GpuInfo | None:
        """The devices; None before the first look has ended."""
        return self._believed.info if self._believed else None

    def usage(self) -> list[GpuUsage]:
        """What the last look found. It also notices a look that does not end."""
        asked_at = self._asked_at
        if asked_at is not None and self._clock() - asked_at > DRIVER_HUNG_AFTER_SECONDS:
            self._conditions.trouble(DRIVER, DRIVER_HUNG_MESSAGE, gpus=self._indexes())
        return self._usage

    def step(self) -> bool:
        """One look; whether the next one should come soon, to confirm what this one found."""
        self._asked_at = self._clock()
        try:
            snapshot = self._devices.read()
        finally:
            self._asked_at = None
        if self._forget_gone and snapshot.failure is None:
            self._devices.forget(snapshot.gone)
            snapshot, self._forget_gone = replace(snapshot, gone=[]), False
        self._usage = snapshot.usage
        self._note(snapshot)
        before = self._believed
        if before is not None and before.usable - snapshot.usable and self._doubted != snapshot.info:
            self._doubted = snapshot.info
            return True
        self._believed, self._doubted = snapshot, None
        return False

    def _note(self, snapshot: DeviceSnapshot) -> None:
        if snapshot.failure is not None:
            if self._devices.known or self._hardware():
                self._conditions.trouble(DRIVER, _driver_message(snapshot.failure, snapshot.code), gpus=self._indexes())
            else:
                self._conditions.in_order(DRIVER)
            return  # which GPU is lost cannot be known now
        self._conditions.in_order(DRIVER)
        messages = {index: self._lost_message(index, error) for index, error in snapshot.lost.items()}
        messages |= {known.index: _gone_message(known) for known in snapshot.gone}
        if messages:
            indexes = sorted(messages)
            self._conditions.trouble(LOST, "; ".join(messages[index] for index in indexes), gpus=indexes)
        else:
            self._conditions.in_order(LOST)

    def _lost_message(self, index: int, error: str) -> str:
        known = next((known for known in self._devices.known if known.index == index), None)
        named = f"GPU {index} ({known.uuid})" if known else f"GPU {index}"
        return f"{named} is lost: {error}: {for_device(error)}"

    def _indexes(self) -> list[int]:
        return [known.index for known in self._devices.known]


def _gone_message(gone: Known) -> str:
    if gone.mig:
        return (
            f"GPU {gone.index} ({gone.uuid}), a MIG device, is gone: NVML no longer lists it. Create it again"
            " (nvidia-smi mig -cgi PROFILE -C), as after each reboot; if it was removed on purpose, start the agent"
            " once with --forget-gpus"
        )
    return (
        f"GPU {gone.index} ({gone.uuid}) is gone: NVML no longer lists it. Look for Xid in dmesg, and reboot"
        " the host; if the GPU was taken out, start the agent once with --forget-gpus"
    )


def _driver_message(failure: str, code: int | None) -> str:
    return f"NVIDIA's driver does not answer ({failure}): {for_driver(code)}; nvidia-smi on this host shows the same"
