"""Pulling images: two at a time at most, whoever asks, tried again where that may help, and each remembered, so that
prune knows which are ours.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Semaphore

from msgspec.structs import replace

from muster.api.messages import Progress, Pulled
from muster_agent.engines.base import Cancelled, Engine, EngineError
from muster_agent.runner.instances import InstanceCache
from muster_agent.state.operations import OperationsTable

log = logging.getLogger(__name__)

PULLS_AT_ONCE = 2
PROGRESS_EVERY_SECONDS = 2.0
WAITING_EVERY_SECONDS = 60.0
"""So often a pull that waits for its turn says so: who is silent for long counts as lost."""
RETRY_PAUSES_SECONDS = (5.0, 20.0)
"""Seconds before each further attempt."""
TRANSIENT_ERROR_CODES = frozenset({"REGISTRY_UNREACHABLE", "PULL_STALLED", "DOCKER_UNAVAILABLE"})
"""What may be over in a moment. The rest fails again however often it is tried."""

OnProgress = Callable[[Progress], None]
OnRetry = Callable[[str, Progress], None]


class Pulls:
    def __init__(
        self,
        engine: Engine,
        operations_table: OperationsTable,
        instance_cache: InstanceCache,
        monotonic: Callable[[], float],
        pauses: Sequence[float] = RETRY_PAUSES_SECONDS,
    ) -> None:
        self._engine = engine
        self._operations_table = operations_table
        self._instance_cache = instance_cache
        self._monotonic = monotonic
        self._pauses = pauses
        self._slots = Semaphore(PULLS_AT_ONCE)

    def pull(
        self, image: str, on_progress: OnProgress, cancelled: Event, on_retry: OnRetry = lambda why, progress: None
    ) -> Pulled:
        """`on_retry` is given why an attempt failed and when the next one begins, with the progress so far.

        Raises Cancelled, EngineError; JournalFull when there is no room to remember it.
        """
        with self._turn(on_progress, cancelled):
            was_there = self._engine.has_image(image)
            pulled = self._persistently(image, _ProgressFilter(on_progress, on_retry, self._monotonic), cancelled)
        if not was_there:
            self._operations_table.add_pulled(pulled.id)
        self._instance_cache.images_changed()
        return pulled

    @contextmanager
    def _turn(self, on_progress: OnProgress, cancelled: Event) -> Iterator[None]:
        """Raises Cancelled."""
        reported_at = float("-inf")
        while not self._slots.acquire(timeout=0.5):
            if cancelled.is_set():
                raise Cancelled
            if self._monotonic() - reported_at >= WAITING_EVERY_SECONDS:
                reported_at = self._monotonic()
                on_progress(Progress("waiting"))
        try:
            yield
        finally:
            self._slots.release()

    def _persistently(self, image: str, reports: _ProgressFilter, cancelled: Event) -> Pulled:
        for attempt, pause in enumerate(self._pauses, start=2):
            try:
                return self._engine.pull(image, reports.progress, cancelled)
            except EngineError as error:
                if error.error_code not in TRANSIENT_ERROR_CODES:
                    raise
                log.warning("pull of %s: %s: %s; again in %.0f s", image, error.error_code, error.message, pause)
                again = f"attempt {attempt} of {len(self._pauses) + 1} in {pause:.0f} s"
                reports.retry(f"{error.error_code}: {error.message} ({again})")
            if cancelled.wait(pause):
                raise Cancelled
        return self._engine.pull(image, reports.progress, cancelled)


class _ProgressFilter:
    """Passes on every change of phase, and otherwise one progress every other second: each is written to disk.

    A further attempt begins at nothing; the last progress is reported until the new one is further.
    """

    def __init__(self, on_progress: OnProgress, on_retry: OnRetry, monotonic: Callable[[], float]) -> None:
        self._on_progress = on_progress
        self._on_retry = on_retry
        self._monotonic = monotonic
        self._furthest = Progress("")
        self._phase: str | None = None
        self._at = float("-inf")

    def progress(self, news: Progress) -> None:
        if (news.percent or 0) >= (self._furthest.percent or 0):
            self._furthest = news
        now = self._monotonic()
        if news.phase != self._phase or now - self._at >= PROGRESS_EVERY_SECONDS:
            self._phase, self._at = news.phase, now
            self._on_progress(replace(self._furthest, phase=news.phase, rate=news.rate))

    def retry(self, why: str) -> None:
        self.progress(Progress("retrying"))
        self._on_retry(why, replace(self._furthest, phase="retrying", rate=None))
