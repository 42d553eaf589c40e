"""When an instance that died may start again, and when its crashes are a loop.

    first failure           starts again after 10 s; the wait doubles with each failure in a row, up to 5 minutes
    second in a row         a crash loop, which every report names until it is over
    same cause ten times    does not heal: the wait doubles beyond 5 minutes, up to 30
    ran for 10 minutes      over: the next failure is the first again

The count and the wait outlive the agent. The count outlives the host's boot, too; the wait does not, since no clock
measures it over a reboot. A new generation begins without either.
"""

from __future__ import annotations

from math import ceil

from muster.api.crash_loops import PERSISTENT
from muster.api.messages import CrashLoop
from muster_agent.state.deployments import Crashes

FIRST_WAIT_SECONDS = 10.0
MAX_WAIT_SECONDS = 300.0
MAX_PERSISTENT_WAIT_SECONDS = 1800.0
PROVEN_AFTER_SECONDS = 600.0
"""A model that ran this long has shown that it can: its next crash is the first again."""
LOOP_FAILURES = 2
"""Failures in a row from which on they are a loop."""


class Restarts:
    """`crashes` is what the journal holds of this generation; each `now` is of CLOCK_MONOTONIC."""

    def __init__(self, crashes: Crashes | None = None, boot_id: str = "") -> None:
        self.crashes = crashes
        self._boot_id = boot_id
        self._running_since: float | None = None

    def note_running(self, now: float) -> bool:
        """Note that it runs. True when that ends a row of failures: it has run for PROVEN_AFTER_SECONDS."""
        if self._running_since is None:
            self._running_since = now
        if self.crashes is None or not self._is_proven(now):
            return False
        self.crashes = None
        return True

    def again(self, now: float, error_code: str) -> float:
        """Count a death or a failed start: the seconds until the next start."""
        before = None if self._is_proven(now) else self.crashes
        self._running_since = None
        in_a_row = before.in_a_row + 1 if before else 1
        times = before.times + 1 if before and before.error_code == error_code else 1
        wait = min(MAX_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(in_a_row - 1, 16))
        if times >= PERSISTENT:
            wait = min(MAX_PERSISTENT_WAIT_SECONDS, wait * 2.0 ** min(times - PERSISTENT + 1, 16))
        self.crashes = Crashes(in_a_row, error_code, times, wait, now + wait, self._boot_id)
        return wait

    def wait(self, now: float) -> float:
        """Seconds that are left until the next start; 0 where none is waited for."""
        if self.crashes is None or self.crashes.boot_id != self._boot_id:
            return 0.0
        return min(self.crashes.wait, max(0.0, self.crashes.next_start - now))

    def loop(self, now: float) -> CrashLoop | None:
        """The crash loop that it is in, for a report."""
        if self.crashes is None or self.crashes.in_a_row < LOOP_FAILURES:
            return None
        return CrashLoop(self.crashes.error_code, self.crashes.times, ceil(self.wait(now)) or None)

    def why_longer(self) -> str:
        """What follows `starts again in 600 s`; nothing up to the common backoff."""
        times = self.crashes.times if self.crashes is not None else 0
        return f": the same cause {times} times in a row" if times >= PERSISTENT else ""

    def _is_proven(self, now: float) -> bool:
        return self._running_since is not None and now - self._running_since >= PROVEN_AFTER_SECONDS
