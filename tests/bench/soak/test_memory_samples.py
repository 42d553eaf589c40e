"""The slope of the server's memory."""

from __future__ import annotations

import pytest

from bench.soak.memory_samples import MIB, MemorySample, second_half, slope, text


def growing(per_hour: float, process: int = 1, start: float = 0) -> list[MemorySample]:
    return [MemorySample(start + at, int((100 + per_hour * at / 3600) * MIB), process) for at in range(0, 1801, 30)]


@pytest.mark.parametrize("per_hour", [0.0, 12.0, -6.0])
def test_the_slope_is_in_bytes_an_hour(per_hour: float) -> None:
    assert slope(growing(per_hour)) / MIB == pytest.approx(per_hour, abs=0.01)


def test_what_grew_at_first_is_not_in_the_second_half() -> None:
    samples = [MemorySample(at, (50 + min(at, 900) // 10) * MIB) for at in range(0, 1801, 30)]
    assert slope(samples) > MIB and slope(second_half(samples)) == 0


def test_after_a_kill_only_the_last_process_counts() -> None:
    half = second_half([*growing(600), *growing(0, 2, 1800)])
    assert {sample.process for sample in half} == {2} and half[0].at == 2700
    assert slope(half) == 0


def test_few_samples_have_no_slope() -> None:
    assert slope([]) == slope(growing(5)[:1]) == 0
    assert second_half([]) == [] and text([]) == "memory: no samples"


def test_the_line_has_first_largest_and_last() -> None:
    sizes = [(0, 50, 0), (30, 90, 1000), (60, 70, 1500)]
    line = text([MemorySample(at, resident * MIB, items=items) for at, resident, items in sizes])
    assert line.startswith("memory: 50.0 MiB at first, 90.0 at most, 70.0 at last; ")
    assert line.endswith("(2 samples), in which +500 items were stored")
