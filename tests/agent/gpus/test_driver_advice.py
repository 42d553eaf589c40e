"""What to do about a driver or a GPU, by NVML's error."""

from __future__ import annotations

import pytest

from muster_agent.gpus.driver_advice import for_device, for_driver
from muster_agent.gpus.nvml import NO_MIG_DEVICE, NO_MIG_UUID


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (12, "install NVIDIA's driver"),
        (9, "modprobe nvidia"),
        (18, "reboot the host"),
        (4, "/dev/nvidia*"),
        (13, "too old"),
        (999, "--gpus all"),
        (None, "--gpus all"),
    ],
)
def test_each_failure_of_the_driver_has_its_advice(code: int | None, word: str) -> None:
    assert word in for_driver(code)


@pytest.mark.parametrize(
    ("error", "word"),
    [
        ("GPU is lost (NVML error 15)", "Xid"),
        ("Unknown Error (NVML error 999)", "nvidia-smi --gpu-reset"),
        ("Insufficient Permissions (NVML error 4)", "/dev/nvidia*"),
        (NO_MIG_DEVICE, "nvidia-smi mig -cgi"),
        (NO_MIG_UUID, "newer driver"),
        ("NVML no longer lists it", "reboot"),
    ],
)
def test_each_reason_why_a_device_cannot_be_used_has_its_advice(error: str, word: str) -> None:
    assert word in for_device(error)
