"""What DynamoDB charges for: sizes of items, read units of a Scan's pages, and dollars."""

from __future__ import annotations

import math
from typing import Any

DOLLARS_PER_READ_UNIT = 0.125e-6
"""On demand, in us-east-1, since November 2024."""
READ_UNIT = 4096


def size_of(item: dict[str, dict[str, object]]) -> int:
    """Bytes as DynamoDB counts them: names and values in UTF-8, a number half its significant digits and one."""

    def value(attribute: dict[str, object]) -> int:
        ((kind, it),) = attribute.items()
        if kind == "N":
            return (len(str(it).lstrip("-").replace(".", "").strip("0")) + 1) // 2 + 1
        if kind == "B":
            return len(it) if isinstance(it, bytes) else len(str(it)) * 3 // 4
        return 1 if kind == "BOOL" else len(str(it).encode())

    return sum(len(name.encode()) + value(attribute) for name, attribute in item.items())


def read_units(page: list[dict[str, Any]]) -> float:
    """Of one page of a Scan, eventually consistent: all that it passed over, whatever was filtered or left out."""
    return math.ceil(sum(map(size_of, page)) / READ_UNIT) / 2


def dollars_a_month(read_units: float, *, every: float = 60.0) -> float:
    """Of 30 days, if so many units are read `every` so many seconds."""
    return read_units * 30 * 86400 / every * DOLLARS_PER_READ_UNIT
