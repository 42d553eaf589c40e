"""The server's resident memory over time, and whether it grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True)
class MemorySample:
    """`at`: seconds since the begin. `resident`: bytes. `process`: the number of the server's process, 1 the first.

    `items`: what the database has, all of which is in memory too.
    """

    at: float
    resident: int
    process: int = 1
    items: int = 0


def second_half(samples: Sequence[MemorySample]) -> list[MemorySample]:
    """The samples of the second half of the time that the last process ran."""
    last = [sample for sample in samples if sample.process == samples[-1].process] if samples else []
    if not last:
        return []
    middle = (last[0].at + last[-1].at) / 2
    return [sample for sample in last if sample.at >= middle]


def slope(samples: Sequence[MemorySample]) -> float:
    """Bytes an hour, by least squares; 0 for less than two samples."""
    count = len(samples)
    if count < 2:
        return 0.0
    mean_at = sum(sample.at for sample in samples) / count
    mean = sum(sample.resident for sample in samples) / count
    spread = sum((sample.at - mean_at) ** 2 for sample in samples)
    return 3600 * sum((s.at - mean_at) * (s.resident - mean) for s in samples) / spread if spread else 0.0


def text(samples: Sequence[MemorySample]) -> str:
    """One line: first, largest, and last sample, and for the second half the slope and what was stored."""
    if not samples:
        return "memory: no samples"
    half = second_half(samples)
    largest = max(sample.resident for sample in samples)
    return (
        f"memory: {samples[0].resident / MIB:.1f} MiB at first, {largest / MIB:.1f} at most, "
        f"{samples[-1].resident / MIB:.1f} at last; {slope(half) / MIB:+.1f} MiB an hour over the second half "
        f"({len(half)} samples), in which {half[-1].items - half[0].items:+,} items were stored"
    )
