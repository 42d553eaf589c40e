"""How often each thing must have happened per 1,000 seeds, so that seeds without a violation mean something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

FEWEST = 100
"""Seeds below which chance alone may leave something out."""

PER_THOUSAND: dict[str, int] = {}


def too_rare(happened: Counter[str], seeds: int) -> list[str]:
    return list(_too_rare(happened, seeds)) if seeds >= FEWEST else []


def _too_rare(happened: Counter[str], seeds: int) -> Iterator[str]:
    for what, minimum in PER_THOUSAND.items():
        wanted = minimum * seeds // 1000
        if happened[what] < wanted:
            yield f"{what}: {happened[what]} times in {seeds} seeds, at least {wanted} expected"
