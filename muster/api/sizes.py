"""Lists that go into one request, of at most 1 MiB, or one item of the database, of at most 400 KB.

What is too long is cut, not refused: a worker whose heartbeat is refused gets no commands.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import TypeVar

import msgspec

T = TypeVar("T")


def fitting(values: Sequence[T], limit: int) -> list[T]:
    """As many of the first values as take at most `limit` bytes as a JSON list."""
    ends = list(accumulate(len(msgspec.json.encode(value)) + 1 for value in values))  # each with its comma
    return list(values[: bisect_right(ends, limit - 1)])
