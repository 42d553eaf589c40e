"""What the host's owner can do about an NVIDIA driver or a GPU that does not work, by NVML's error."""

from __future__ import annotations

import pynvml

from muster_agent.gpus.nvml import NO_MIG_DEVICE, NO_MIG_UUID

_NO_ACCESS = "run the agent as root, or give its user access to /dev/nvidia*; an agent in a container needs --gpus all"
_DRIVER = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: (
        "install NVIDIA's driver, until nvidia-smi lists the GPUs; an agent in a container needs --gpus all"
    ),
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "load the driver (modprobe nvidia), or install it anew for this kernel",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
        "the driver was upgraded and the old one is still loaded: reboot the host; an agent in a container has to be"
        " made anew too"
    ),
    pynvml.NVML_ERROR_NO_PERMISSION: _NO_ACCESS,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: "NVIDIA's library is too old for this agent: install a newer driver",
}
_ANYTHING = "load the driver, or install it anew; an agent in a container needs --gpus all"
_LOST = "look for Xid in dmesg (79: it fell off the bus), and reset the GPU (nvidia-smi --gpu-reset) or reboot the host"


def for_driver(code: int | None) -> str:
    """`code` is NVML's error, None where NVML failed without one."""
    return _DRIVER.get(code, _ANYTHING) if code is not None else _ANYTHING


def for_device(error: str) -> str:
    """`error` is why a device that NVML lists cannot be used."""
    if error == NO_MIG_DEVICE:
        return "create one (nvidia-smi mig -cgi PROFILE -C), or disable MIG (nvidia-smi -mig 0)"
    if error == NO_MIG_UUID:
        return "install a newer driver"
    return _NO_ACCESS if error.endswith(f"(NVML error {pynvml.NVML_ERROR_NO_PERMISSION})") else _LOST
