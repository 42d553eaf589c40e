"""A pull's many layers as one number that never runs backwards.

The daemon tells of each layer for itself, and of its size only when its download starts. A layer counts twice, since
unpacking takes longer than downloading on a fast line; one of unknown size counts as the average of the known ones.
What that estimate gets wrong is held back, not given back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.contract.messages import Progress

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
    """Fed with the daemon's events, says where the whole pull is: in bytes, each counted twice."""

    def __init__(self) -> None:
        self._layers: dict[str, _Layer] = {}
        self._total = 0
        self._current = 0
        self._told: tuple[str, int] | None = None

    def see(self, event: Mapping[str, Any]) -> Progress | None:
        """The progress after `event`, if it differs by a percent or a phase from what was told last."""
        status, layer_id = str(event.get("status", "")), event.get("id")
        if not layer_id or status.startswith("Pulling from") or status in _IGNORED:
            return None
        detail = event.get("progressDetail") or {}
        layer = self._layers.setdefault(str(layer_id), _Layer())
        layer.see(status, int(detail.get("current") or 0), int(detail.get("total") or 0))
        return self._news()

    def _news(self) -> Progress | None:
        self._count()
        phase = "downloading" if any(not each.is_downloaded for each in self._layers.values()) else "extracting"
        told = phase, 100 * self._current // max(self._total, 1)
        if told == self._told:
            return None
        self._told = told
        return Progress(phase=phase, current=self._current, total=self._total)

    def _count(self) -> None:
        sizes = [each.size for each in self._layers.values() if each.size is not None]
        unknown = len(self._layers) - len(sizes)
        estimate = 2 * (sum(sizes) + unknown * (sum(sizes) // max(len(sizes), 1)))
        done = sum(each.downloaded + each.extracted for each in self._layers.values())
        total = max(self._total, estimate)
        # Never behind what was told before, in bytes or in percent, and whole when every layer is.
        as_before = -(-self._current * total // self._total) if self._total else 0
        self._total, self._current = total, max(as_before, done * total // max(estimate, 1))
