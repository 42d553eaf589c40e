"""What is on this host, listed once for everybody who asks within a moment, and left for the heartbeat to read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from muster.api.messages import Image
from muster_agent.engines.base import Engine, Instance

MAX_LISTING_AGE_SECONDS = 3.5
"""Seconds for which a listing serves: many actors look, and each listing costs the engine. What the agent does itself
ends that at once (`changed`), and the watch looks afresh."""
LIST_IMAGES_EVERY_SECONDS = 60.0


class _Start:
    """A start of an instance, which no listing may have found yet."""

    def __init__(self, deployment_id: str) -> None:
        self.deployment_id = deployment_id
        self.has_ended = False


class InstanceCache:
    """`seen` and `images` are the last listings, None before the first; reading them never waits."""

    def __init__(self, engine: Engine, monotonic: Callable[[], float]) -> None:
        self._engine = engine
        self._monotonic = monotonic
        self._lock = Lock()
        self._listed_at = float("-inf")
        self._images_at = float("-inf")
        self._starts: list[_Start] = []
        self.seen: tuple[Instance, ...] | None = None
        self.images: tuple[Image, ...] | None = None

    def instances(self) -> tuple[Instance, ...]:
        """A fresh enough listing. Raises what the engine raises when it cannot be reached."""
        with self._lock:
            now = self._monotonic()
            if self.seen is None or not 0 <= now - self._listed_at < MAX_LISTING_AGE_SECONDS:
                ended = [start for start in self._starts if start.has_ended]
                self.seen = tuple(self._engine.instances())
                self._listed_at = now
                for start in ended:
                    self._starts.remove(start)
            return self.seen

    @contextmanager
    def start(self, deployment_id: str) -> Iterator[None]:
        """Around the start of an instance, which then counts as unlisted until a listing began after it."""
        start = _Start(deployment_id)
        self._starts.append(start)
        try:
            yield
        finally:
            start.has_ended = True

    @property
    def unlisted(self) -> frozenset[str]:
        """The deployments of which an instance may run that `seen` lacks: the engine may fail right after a start."""
        return frozenset(start.deployment_id for start in self._starts.copy())

    def changed(self) -> None:
        """Something was started, stopped or removed: the listing at hand is not true any more."""
        with self._lock:
            self._listed_at = float("-inf")

    def images_changed(self) -> None:
        self._images_at = float("-inf")

    def refresh(self) -> None:
        """What the watch does every few seconds."""
        self.instances()
        now = self._monotonic()
        if self._engine.uses_images and now - self._images_at >= LIST_IMAGES_EVERY_SECONDS:
            # Before the listing, so that a change during it is not missed.
            self._images_at = now
            self.images = tuple(self._engine.images())
