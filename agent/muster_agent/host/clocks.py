"""The clocks of this host, and what each is for (docs/adr/0029).

clock       epoch seconds. For display, logs, and the wire: NTP, a resume, or an operator steps it at any moment
monotonic   CLOCK_MONOTONIC. For what this host does itself: backoff, stalls, probes. Stands still while suspended
boottime    CLOCK_BOOTTIME. For leases and deadlines, which pass on the other side too: counts suspended time
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_UNKNOWN_BOOT = uuid4().hex


@dataclass(frozen=True)
class Moment:
    """One instant, as the journal can keep it. `boottime` is in seconds since the boot `boot_id`, `wall` in epoch
    seconds."""

    wall: float
    boottime: float
    boot_id: str

    def since(self, earlier: Moment) -> float | None:
        """Seconds since `earlier`, suspended time included; None when the host was rebooted in between."""
        return max(0.0, self.boottime - earlier.boottime) if self.boot_id == earlier.boot_id else None


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id(path: Path = BOOT_ID) -> str:
    """The kernel's id of this boot. Where the kernel does not tell, each process counts as a boot of its own."""
    try:
        return path.read_text(encoding="ascii").strip() or _UNKNOWN_BOOT
    except (OSError, ValueError):
        return _UNKNOWN_BOOT


@dataclass(frozen=True)
class Clocks:
    """The host's clocks, in seconds: `wall` since the epoch, `boottime` within the boot `boot_id`."""

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    boottime: Callable[[], float] = boottime
    boot_id: Callable[[], str] = boot_id

    def moment(self) -> Moment:
        return Moment(self.wall(), self.boottime(), self.boot_id())
