"""Crash loops in words."""

from __future__ import annotations

import pytest

from muster.api.crash_loops import PERSISTENT, advice, span, words
from muster.api.messages import CrashLoop


@pytest.mark.parametrize(
    ("loop", "said"),
    [
        (CrashLoop("CUDA_OUT_OF_MEMORY", 3, 40), "crash loop: CUDA_OUT_OF_MEMORY, next start in 40 s"),
        (CrashLoop("X", 3, 0), "crash loop: X, next start now"),
        (CrashLoop("X", 3), "crash loop: X"),
        (CrashLoop("X", PERSISTENT - 1, 300), "crash loop: X, next start in 5 min"),
        (CrashLoop("X", 12, 1800), "crash loop: X, next start in 30 min; the same cause 12 times"),
        (CrashLoop("X", PERSISTENT), "crash loop: X; the same cause 10 times"),
    ],
)
def test_a_loop_is_named_with_its_cause_and_its_next_start(loop: CrashLoop, said: str) -> None:
    assert words(loop) == said


def test_only_a_loop_that_does_not_heal_has_advice() -> None:
    assert advice(CrashLoop("X", PERSISTENT - 1, 300), "qwen") is None
    assert "`muster restart qwen` starts it at once" in (advice(CrashLoop("X", PERSISTENT, 600), "qwen") or "")


def test_minutes_are_rounded_up() -> None:
    assert [span(seconds) for seconds in (1, 119, 120, 121, 1800)] == ["1 s", "119 s", "2 min", "3 min", "30 min"]
