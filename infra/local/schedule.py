"""What the local server does each minute, and what it does about its own clock.

The control plane's times are epoch seconds, and silence is the difference of two of them. Where this machine's clock is
set, or the machine was suspended, everybody seems to have been silent for as long; so too after a start, if the server
was stopped. Where the clock is put back, whoever is silent from now on seems to be online until then.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

SWEEP_SECONDS = 60.0
CLOCK_STEP_SECONDS = 30.0
"""Seconds by which the wall clock may leave the monotonic one within a minute. NTP slews by less; more is a step."""
SETTLE_SECONDS = 60.0
"""Seconds after a start or a step in which nothing is concluded. Each agent that lives sends a heartbeat meanwhile: the
longest pause between two is 60 seconds, where it could not reach the server before."""

Task = Callable[[float], object]
"""Gets epoch seconds."""


class Minute:
    """`turn` is one minute's work. `put_back` is called where the clock may run behind what is stored."""

    def __init__(
        self,
        tasks: Sequence[Task],
        put_back: Task,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tasks = tasks
        self._put_back = put_back
        self._clock, self._monotonic = clock, monotonic
        self._offset = clock() - monotonic()
        self._hold_until = monotonic() + SETTLE_SECONDS

    def turn(self) -> None:
        """Do every task, unless the server started or the clock was set within the last minutes."""
        now, monotonic = self._clock(), self._monotonic()
        step, self._offset = now - monotonic - self._offset, now - monotonic
        if abs(step) > CLOCK_STEP_SECONDS:
            log.warning(
                "this machine's clock went %+.0f s (it was set, or the machine was suspended): nothing is concluded"
                " from silence for %.0f s",
                step,
                SETTLE_SECONDS,
            )
            self._hold_until = monotonic + SETTLE_SECONDS
            if step < 0:
                _attempt(self._put_back, now)
        if monotonic >= self._hold_until:
            for task in self._tasks:
                _attempt(task, now)

    def start(self) -> None:
        """In the background, for as long as the process lives."""
        # A step before the last start of the server, too.
        _attempt(self._put_back, self._clock())
        threading.Thread(target=self._run, name="minute", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(SWEEP_SECONDS)
            self.turn()


def _attempt(task: Task, now: float) -> None:
    try:
        task(now)
    except Exception:  # the next minute may do better, and serving goes on
        log.exception("a scheduled function failed")
