"""When an instance that died may start again: after 10 seconds, then twice as long each time, up to 5 minutes."""

from __future__ import annotations

FIRST = 10.0
LONGEST = 300.0
PROVEN_AFTER = 600.0
"""A model that ran this long has shown that it can: its next crash is the first again."""


class Restarts:
    def __init__(self) -> None:
        self._failures = 0
        self._not_before = float("-inf")
        self._running_since: float | None = None

    def note_running(self, now: float) -> None:
        if self._running_since is None:
            self._running_since = now

    def again(self, now: float) -> float:
        """It died, or did not start: the seconds until it may again."""
        if self._running_since is not None and now - self._running_since >= PROVEN_AFTER:
            self._failures = 0
        self._running_since = None
        backoff = min(LONGEST, FIRST * 2.0 ** min(self._failures, 16))
        self._failures += 1
        self._not_before = now + backoff
        return backoff

    def wait(self, now: float) -> float:
        """Seconds that are left of it."""
        return max(0.0, self._not_before - now)
