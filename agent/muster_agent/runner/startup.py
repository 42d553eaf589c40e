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
from muster_agent.runner.phases import PHASE_LOG_LINES, phase_of

STALLED_AFTER_SECONDS = 600.0
OBSERVE_EVERY_SECONDS = 5.0
LONGEST_OBSERVATION_GAP_SECONDS = 120.0
"""A longer gap between two observations does not count as time without growth."""

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

    def observe(self, command: Deploy, instance: Instance) -> Observation:
        """Raises EngineError where the engine cannot be asked."""
        cached = cached_models(self.hub_cache) if self.hub_cache is not None else []
        return Observation(
            log=self.engine.logs(instance.id, PHASE_LOG_LINES, None).text,
            cached=sum(entry.size for entry in cached if entry.model == command.model),
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
        return now - self._looked_at >= OBSERVE_EVERY_SECONDS

    def note(self, now: float, observation: Observation) -> None:
        """Take in a look. A long gap between looks (an engine that hangs, a host that sleeps) does not count."""
        if self._last is not None and now - self._looked_at > LONGEST_OBSERVATION_GAP_SECONDS:
            self._grew_at += now - self._looked_at
        self._looked_at = now
        before, self._last = self._last, observation
        self.progress = self._read(before, observation) or self.progress
        if before is not None and _has_grown(before, observation):
            self._grew_at = now

    @property
    def watched(self) -> str:
        """What did not grow, for a message; memory that nobody can see is no evidence."""
        if self._last is not None and self._last.on_gpus is None:
            return "neither its log nor its weights; how much memory it has on its GPUs is unknown"
        return "neither its log nor its weights nor its memory on a GPU"

    def has_ended(self, now: float) -> bool:
        return now - self._grew_at >= STALLED_AFTER_SECONDS

    def _read(self, before: Observation | None, observation: Observation) -> Progress | None:
        """The progress to report from now on; None keeps the last one.

        A log that has come no further than loading does not tell a download from reading the weights: the cache does.
        """
        phase = phase_of(observation.log)
        downloading_now = before is not None and observation.cached > before.cached
        was_downloading = self.progress is not None and self.progress.phase == "downloading_weights"
        if downloading_now and phase in (None, Progress("loading")):
            return Progress("downloading_weights", observation.cached, self._weights)
        if was_downloading and phase == Progress("loading") and observation.cached < (self._weights or 0):
            return None  # the download pauses
        return phase


def _has_grown(before: Observation, now: Observation) -> bool:
    """Whether the log has news, or the weights or the memory on the GPUs are more than `before`."""
    return now.news != before.news or now.cached > before.cached or _is_more(now.on_gpus, before.on_gpus)


def _is_more(now: int | None, before: int | None) -> bool:
    return now is not None and before is not None and now > before
