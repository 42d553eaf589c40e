"""Sums over the last seconds, with bounded memory: at most `limit` within any window, however the calls fall.

     │◄──────────── window ────────────►│
     ├───┬───┬───┬───┬───┬───┬───┬───┬──┤ now
       2   0   0   5   0   0   1   0   3        one count for each slot

A count leaves when the whole of its slot is older than the window: up to one slot late, and never early.
"""

from __future__ import annotations

from collections import deque

SLOTS = 60


class Window:
    """A sliding sum over `seconds`, in at most SLOTS + 1 counts. Times are seconds of one clock that never goes back;
    a time before the last one counts as the last one.
    """

    def __init__(self, seconds: float = 60.0) -> None:
        self._slot = seconds / SLOTS
        self._counts: deque[list[int]] = deque()
        self._latest = -(2**62)
        self.total = 0

    def add(self, count: int, now: float) -> None:
        self.expire(now)
        if not count:
            return
        if self._counts and self._counts[-1][0] == self._latest:
            self._counts[-1][1] += count
        else:
            self._counts.append([self._latest, count])
        self.total += count

    def expire(self, now: float) -> None:
        """Drop what is older than the window."""
        self._latest = max(self._latest, int(now // self._slot))
        while self._counts and self._counts[0][0] + SLOTS < self._latest:
            self.total -= self._counts.popleft()[1]

    def free_in(self, wanted: int, now: float) -> float:
        """Seconds until the sum is at most `wanted`, if nothing is added."""
        self.expire(now)
        if wanted <= 0 and self.total:
            return max(0.0, (self._counts[-1][0] + SLOTS + 1) * self._slot - now)
        left = self.total
        for slot, count in self._counts:
            if left <= wanted:
                break
            left -= count
            if left <= wanted:
                return max(0.0, (slot + SLOTS + 1) * self._slot - now)
        return 0.0

    @property
    def is_empty(self) -> bool:
        return not self._counts
