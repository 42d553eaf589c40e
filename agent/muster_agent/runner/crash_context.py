"""What a crash report says beside the log: how it ended, and what the host looked like at that moment."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from muster_agent.engines.base import Instance
from muster_agent.gpus.gpu_usage import Gpu
from muster_agent.runner.preflight import HostProbe, size, size_or_unknown


def crash_context(instance: Instance, host_probe: HostProbe, root: Path, there: Collection[Instance]) -> str:
    """Lines to stand after the log: exit code, OOM flag, free disk, and each GPU's memory by process.

    `root` is the engine's folder, `there` everything that the engine lists.
    """
    lines = [
        f"exit code {instance.exit_code}, {'' if instance.oom_killed else 'not '}killed for memory",
        *_disk(host_probe, root),
        *(_gpu(gpu, there) for gpu in host_probe.gpus()),
    ]
    return "".join(f"\n[muster] {line}" for line in lines)


def _disk(host_probe: HostProbe, root: Path) -> Iterator[str]:
    try:
        yield f"{size(host_probe.disk(root).free)} free on {root}"
    except OSError:
        return  # a disk that does not answer has no figures


def _gpu(gpu: Gpu, there: Collection[Instance]) -> str:
    holders = ", ".join(f"{holder.describe(there)} {size_or_unknown(holder.memory)}" for holder in gpu.holders)
    used = f"{size_or_unknown(gpu.used)} of {size_or_unknown(gpu.total)} used"
    if gpu.shared:
        used = f"{size_or_unknown(gpu.used)} of the host's memory used"
    return f"GPU {gpu.index}: {used}: {holders or 'by nobody that NVML names'}"
