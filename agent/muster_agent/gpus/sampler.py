"""Keeps the last known figures of GPUs and disk at hand, so that a heartbeat never waits for NVML or for a disk."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Thread

from muster.api.messages import Disk, GpuUsage
from muster_agent.gpus.gpu_watch import GpuWatch

log = logging.getLogger(__name__)

SAMPLE_EVERY_SECONDS = 5.0
CONFIRM_AFTER_SECONDS = 1.0
"""Seconds to the next look at the GPUs after one that lost some."""


class Sampler:
    """A thread for the GPUs and one for the disk: what hangs holds up its own thread, and keeps what it saw last."""

    def __init__(self, usage: Callable[[], Disk], gpus: GpuWatch, every: float = SAMPLE_EVERY_SECONDS) -> None:
        self._usage = usage
        self._gpus = gpus
        self._every = every
        self._disk: Disk | None = None
        self._ended = Event()
        self._looked = Event()

    def start(self) -> None:
        for name, target in (("gpus", self._run_gpus), ("disk", self._run_disk)):
            Thread(target=target, name=f"sampler-{name}", daemon=True).start()

    def stop(self) -> None:
        """Returns at once; the threads end when they wake."""
        self._ended.set()

    def latest(self) -> tuple[list[GpuUsage], Disk | None]:
        """The last sample: ([], None) before the first. Never blocks."""
        return self._gpus.usage(), self._disk

    def wait(self, seconds: float) -> bool:
        """Whether the GPUs have been looked at, after at most so many seconds."""
        return self._looked.wait(seconds)

    def sample_disk(self) -> None:
        try:
            self._disk = self._usage()
        except OSError:  # a disk that does not answer has no figures; everything else goes on
            self._disk = None

    def _run_gpus(self) -> None:
        soon = False
        while not self._ended.wait(CONFIRM_AFTER_SECONDS if soon else self._every if self._looked.is_set() else 0):
            try:
                soon = self._gpus.step()
            except Exception:
                # Without this thread the inventory would never change again.
                log.exception("this look at the GPUs failed")
            self._looked.set()

    def _run_disk(self) -> None:
        while True:
            self.sample_disk()
            if self._ended.wait(self._every):
                return
