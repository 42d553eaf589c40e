"""Whether a model on its way up still gets anywhere, and how far it is.

Loading may take hours on a slow disk or line. What tells it from a hung one is that something grows: the log, the
weights in the cache, the memory on its GPUs. When nothing has for ten minutes, nothing will.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from muster.api.messages import Deploy, Progress
from muster.diagnostics.lines import READ_CHARACTERS
from muster_agent.backends.hub_cache import cached_models
from muster_agent.engines.base import Engine, Instance
from muster_agent.gpus.gpu_usage import Gpu
from muster_agent.runner.phases import LINES, phase_of

STALLED_AFTER = 600.0
LOOK_EVERY = 5.0
GAP = 120.0
"""Seconds between two looks above which the time between them does not count as time without growth."""

# Said over and over by one that hangs, or said of our own questions.
_NO_NEWS = re.compile(
    r"No available shared memory broadcast block|Waiting for .*core engine|\"GET /(?:health|v1/models)"
)


@dataclass(frozen=True)
class Observation:
    """`cached` and `on_gpus` are bytes: of the model's weights on disk, of memory on its GPUs, which may be unknown."""

    log: str
    cached: int = 0
    on_gpus: int | None = 0

    @property
    def news(self) -> str:
        return "\n".join(line for line in self.log.splitlines() if not _NO_NEWS.search(line[:READ_CHARACTERS]))


@dataclass(frozen=True)
class StartupObserver:
    """Looks at an instance that is on its way up."""

    engine: Engine
    hub_cache: Path | None
    gpus: Callable[[], Sequence[Gpu]]

    def look(self, command: Deploy, instance: Instance) -> Observation:
        """Raises EngineError where the engine cannot be asked."""
        cached = cached_models(self.hub_cache) if self.hub_cache is not None else []
        return Observation(
            log=self.engine.logs(instance.id, LINES, None).text,
            cached=sum(each.size for each in cached if each.model == command.model),
            on_gpus=self._on_gpus(command) if command.gpus else 0,
        )

    def _on_gpus(self, command: Deploy) -> int | None:
        known = [gpu.used for gpu in self.gpus() if gpu.index in command.gpus and gpu.used is not None]
        return sum(known) if known else None


class StartupWatchdog:
    """One start's. `weights` are the bytes to download, where they are known."""

    def __init__(self, now: float, weights: int | None = None) -> None:
        self._grew_at = now
        self._looked_at = float("-inf")
        self._weights = weights
        self._last: Observation | None = None
        self.progress: Progress | None = None

    def is_due(self, now: float) -> bool:
        return now - self._looked_at >= LOOK_EVERY

    def note(self, now: float, sight: Observation) -> None:
        """Take in a look. A long gap between looks (an engine that hangs, a host that sleeps) does not count."""
        if self._last is not None and now - self._looked_at > GAP:
            self._grew_at += now - self._looked_at
        self._looked_at = now
        before, self._last = self._last, sight
        self.progress = self._read(before, sight) or self.progress
        if before is None:
            return
        if sight.news != before.news or sight.cached > before.cached or _more(sight.on_gpus, before.on_gpus):
            self._grew_at = now

    @property
    def watched(self) -> str:
        """What did not grow, for a message; memory that nobody can see is no evidence."""
        if self._last is not None and self._last.on_gpus is None:
            return "neither its log nor its weights; how much memory it has on its GPUs is unknown"
        return "neither its log nor its weights nor its memory on a GPU"

    def has_ended(self, now: float) -> bool:
        return now - self._grew_at >= STALLED_AFTER

    def _read(self, before: Observation | None, sight: Observation) -> Progress | None:
        phase = phase_of(sight.log)
        downloads = before is not None and sight.cached > before.cached
        if downloads and (phase is None or (phase.phase == "loading" and phase.current is None)):
            return Progress("downloading_weights", sight.cached, self._weights)
        still = self.progress is not None and self.progress.phase == "downloading_weights"
        return None if still and phase == Progress("loading") and sight.cached < (self._weights or 0) else phase


def _more(now: int | None, before: int | None) -> bool:
    return now is not None and before is not None and now > before
