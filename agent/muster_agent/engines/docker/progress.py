"""A pull's many layers as one number that never runs backwards.

The daemon tells of each layer for itself, and of its size only when its download starts. Downloading and unpacking are
a half each, since unpacking takes longer than downloading on a fast line; a layer of unknown size counts as the average
of the known ones. The bytes moved are what was seen; where that estimate of the total grows, it is let in only as fast
as the share of it that is done does not fall.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from muster.api.messages import Progress

RATE_WINDOW_SECONDS = 10.0
"""The rate is that of the last so many seconds."""
RATE_REPORT_EVERY_SECONDS = 5.0
"""Seconds after which a rate is told again although the percentage is the same."""
_IGNORED = frozenset({"Already exists"})


@dataclass
class _Layer:
    size: int | None = None
    downloaded: int = 0
    extracted: int = 0
    is_downloaded: bool = False
    is_done: bool = False

    def see(self, status: str, current: int, total: int) -> None:
        if status == "Downloading":
            self.size = max(self.size or 0, total, current)
            self.downloaded = max(self.downloaded, current)
        elif status == "Extracting":
            self.size = max(self.size or 0, total, current)
            self.downloaded, self.is_downloaded = self.size, True
            self.extracted = max(self.extracted, current)
        elif status in ("Verifying Checksum", "Download complete"):
            self.size = self.size or 0
            self.downloaded, self.is_downloaded = self.size, True
        elif status == "Pull complete":
            self.size = self.size or 0
            self.downloaded = self.extracted = self.size
            self.is_downloaded = self.is_done = True


class PullProgress:
    """Fed with the daemon's events, says where the whole pull is. `now` is in seconds, of any clock that only grows.

    `grew_at` is when anything last came closer to its end: events alone are no growth, since a daemon that retries
    sends them as well.
    """

    def __init__(self, now: float) -> None:
        self.grew_at = now
        self._layers: dict[str, _Layer] = {}
        self._total = 0
        self._current = 0
        self._history: deque[tuple[float, int]] = deque([(now, 0)])
        self._reported: tuple[str, int] | None = None
        self._reported_at = now

    def see(self, event: Mapping[str, Any], now: float) -> Progress | None:
        """The progress after `event`, if it differs by a percent or a phase from what was told last, or is due."""
        status, layer_id = str(event.get("status", "")), event.get("id")
        if not layer_id or status.startswith("Pulling from") or status in _IGNORED:
            return None
        detail = event.get("progressDetail") or {}
        before = self._state()
        layer = self._layers.setdefault(str(layer_id), _Layer())
        layer.see(status, int(detail.get("current") or 0), int(detail.get("total") or 0))
        if self._state() != before:
            self.grew_at = now
        return self._news(now)

    @property
    def has_begun(self) -> bool:
        """Whether anything of the image is known to have come."""
        return bool(self._layers)

    def idle(self, now: float) -> Progress | None:
        """The progress while no event comes, if it is due: its rate is news too."""
        return self._news(now) if self._layers else None

    def _state(self) -> tuple[int, int, int, int]:
        every = self._layers.values()
        ended = sum(layer.is_downloaded for layer in every), sum(layer.is_done for layer in every)
        return len(every), self._moved(), *ended

    def _moved(self) -> int:
        return sum(layer.downloaded + layer.extracted for layer in self._layers.values())

    def _news(self, now: float) -> Progress | None:
        self._count()
        phase = "downloading" if any(not layer.is_downloaded for layer in self._layers.values()) else "extracting"
        rate = self._rate(now)
        state = phase, 100 * self._current // max(self._total, 1)
        if state == self._reported and now - self._reported_at < RATE_REPORT_EVERY_SECONDS:
            return None
        self._reported, self._reported_at = state, now
        percent = round(100 * self._current / max(self._total, 1), 1)
        return Progress(phase, current=self._current // 2, total=self._total // 2, percent=percent, rate=rate)

    def _rate(self, now: float) -> int | None:
        self._history.append((now, self._moved()))
        while len(self._history) > 2 and self._history[1][0] <= now - RATE_WINDOW_SECONDS:
            self._history.popleft()
        then, moved = self._history[0]
        return int((self._moved() - moved) / (now - then)) if now - then >= 0.5 else None

    def _count(self) -> None:
        """In bytes that are to be moved: those of each layer twice."""
        sizes = [layer.size for layer in self._layers.values() if layer.size is not None]
        unknown = len(self._layers) - len(sizes)
        estimate = 2 * (sum(sizes) + unknown * (sum(sizes) // max(len(sizes), 1)))
        moved = self._moved()
        self._current, self._total = moved, min(estimate, self._largest_total_keeping_percent(moved, estimate))

    def _largest_total_keeping_percent(self, moved: int, otherwise: int) -> int:
        """The largest total of which `moved` is no smaller a share than before; `otherwise` before the first byte."""
        return moved * self._total // self._current if self._current else otherwise
