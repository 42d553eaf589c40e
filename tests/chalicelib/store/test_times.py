"""Epoch seconds as the wire has them."""

from __future__ import annotations

from datetime import datetime, timezone

import msgspec
import pytest

from chalicelib.store.times import when


@pytest.mark.parametrize(
    ("epoch", "written"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_800_000_000, "2027-01-15T08:00:00Z"),
        (1_800_000_000.123456, "2027-01-15T08:00:00.123456Z"),
    ],
)
def test_a_time_is_rfc_3339_in_utc(epoch: float, written: str) -> None:
    assert when(epoch).tzinfo is timezone.utc
    assert msgspec.json.encode(when(epoch)) == f'"{written}"'.encode()


def test_a_time_is_what_it_was_to_the_microsecond() -> None:
    assert when(1_800_000_000.000001) == datetime(2027, 1, 15, 8, 0, 0, 1, tzinfo=timezone.utc)
    assert when(1_800_000_000.5).timestamp() == 1_800_000_000.5
