"""Medians, quartiles, and ratios of neighboring measurements."""

from __future__ import annotations

import pytest

from bench.samples import Samples, Spread, ratios, spread


def test_a_spread_has_the_least_the_quartiles_and_the_most() -> None:
    assert spread([5.0, 1.0, 3.0, 2.0, 4.0]) == Spread(least=1, low=2, median=3, high=4, most=5, count=5)


def test_one_value_is_its_own_spread() -> None:
    assert spread([7.0]) == Spread(7, 7, 7, 7, 7, 1)


def test_no_values_have_no_spread() -> None:
    with pytest.raises(ValueError, match="needs a value"):
        spread([])


def test_a_ratio_is_of_the_same_round() -> None:
    """A machine that was half as fast in the second round changes no ratio."""
    assert ratios([100, 50], [10, 5]) == [10, 10]


def test_a_round_without_a_neighbor_and_a_neighbor_of_zero_give_no_ratio() -> None:
    assert ratios([100, 50, 7], [10, 0]) == [10]


def test_samples_keep_the_order_of_rounds_cases_and_subjects() -> None:
    samples = Samples()
    for rate in (1.0, 2.0):
        samples.add("8", "Muster", {"rate": rate})
        samples.add("8", "floor", {"rate": 10 * rate})
    samples.add("32", "floor", {"rate": 5.0})
    assert samples.get("8", "Muster", "rate") == [1.0, 2.0] and samples.get("32", "Muster", "rate") == []
    assert (samples.cases(), samples.subjects()) == (["8", "32"], ["Muster", "floor"])
    assert samples.plain()["32"] == {"floor": {"rate": [5.0]}}


def test_a_look_at_what_was_not_measured_adds_nothing() -> None:
    samples = Samples()
    assert samples.get("8", "Muster", "rate") == [] and samples.cases() == []
