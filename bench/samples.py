"""Repeated measurements and what is concluded from them: medians, quartiles, and ratios of neighbors in time."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Spread:
    """Of one number that was measured several times."""

    least: float
    low: float
    """The first quartile."""
    median: float
    high: float
    """The third quartile."""
    most: float
    count: int


def spread(values: Sequence[float]) -> Spread:
    """Raises ValueError if there are no values."""
    if not values:
        raise ValueError("a spread needs a value")
    low, median, high = (
        statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else (values[0], values[0], values[0])
    )
    return Spread(min(values), low, median, high, max(values), len(values))


def ratios(these: Sequence[float], those: Sequence[float]) -> list[float]:
    """Each value divided by its neighbor: the one that was measured in the same round, beside it.

    A round without a neighbor, and a neighbor of 0, give no ratio.
    """
    return [this / that for this, that in zip(these, those, strict=False) if that]


@dataclass
class Samples:
    """The values of a figure by case, subject, and metric, in the order of the rounds."""

    values: dict[str, dict[str, dict[str, list[float]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    )

    def add(self, case: str, subject: str, measured: dict[str, float]) -> None:
        for metric, value in measured.items():
            self.values[case][subject][metric].append(value)

    def get(self, case: str, subject: str, metric: str) -> list[float]:
        """The values of the rounds; empty where nothing was measured."""
        return list(self.values.get(case, {}).get(subject, {}).get(metric, []))

    def cases(self) -> list[str]:
        return list(self.values)

    def subjects(self) -> list[str]:
        """In the order in which each was first measured."""
        return list(dict.fromkeys(subject for subjects in self.values.values() for subject in subjects))

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            case: {subject: dict(metrics) for subject, metrics in subjects.items()}
            for case, subjects in self.values.items()
        }
