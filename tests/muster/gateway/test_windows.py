"""The sliding sum: compared with a list of all that was added."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from muster.gateway.windows import SLOTS, Window

STEPS = st.lists(st.tuples(st.floats(0, 90), st.integers(0, 1000)), max_size=60)


@given(STEPS)
def test_the_sum_is_at_least_that_of_the_window_and_at_most_that_of_one_slot_more(
    steps: list[tuple[float, int]],
) -> None:
    window, added, now = Window(60.0), list[tuple[float, int]](), 1_000_000.0
    for passed, count in steps:
        now += passed
        window.add(count, now)
        added.append((now, count))
        assert window.total >= sum(count for at, count in added if at > now - 60)
        assert window.total <= sum(count for at, count in added if at > now - 62)
        assert len(window._counts) <= SLOTS + 1


@given(STEPS, st.integers(0, 1000))
def test_the_sum_falls_to_what_is_wanted_when_it_was_foretold_and_not_before(
    steps: list[tuple[float, int]], wanted: int
) -> None:
    window, now = Window(60.0), 1_000_000.0
    for passed, count in steps:
        now += passed
        window.add(count, now)
    wait = window.free_in(wanted, now)
    assert 0 <= wait <= 61
    if wait:
        window.expire(now + wait - 0.001)
        assert window.total > wanted
    window.expire(now + wait + 0.001)
    assert window.total <= wanted


def test_a_clock_that_is_set_back_frees_nothing_and_breaks_nothing() -> None:
    window = Window(60.0)
    window.add(5, 1000.0)
    window.add(5, 10.0)
    assert window.total == 10
    window.expire(1030.0)
    assert window.total == 10
    window.expire(1062.0)
    assert window.total == 0 and window.is_empty
