"""How long to wait before trying again."""

from __future__ import annotations

from random import Random

MAX_RETRY_AFTER_SECONDS = 600.0


class Backoff:
    """Exponential, with full jitter: a fleet that lost its control plane must not come back all at once.

    Seconds between `base` and `cap`; a `Retry-After` is honored up to ten minutes, and spread as well.
    """

    def __init__(self, random: Random, base: float = 1.0, cap: float = 60.0) -> None:
        self._random = random
        self._base = base
        self._cap = cap
        self._failures = 0

    def reset(self) -> None:
        self._failures = 0

    @property
    def failing(self) -> bool:
        return self._failures > 0

    def next(self, retry_after: float | None = None) -> float:
        self._failures += 1
        ceiling = min(self._cap, self._base * 2.0 ** min(self._failures, 32))
        wait = self._random.uniform(self._base, ceiling)
        return wait if retry_after is None else min(max(0.0, retry_after), MAX_RETRY_AFTER_SECONDS) + wait - self._base
