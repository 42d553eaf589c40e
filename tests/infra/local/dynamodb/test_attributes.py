"""The canonical form of attributes, and their sizes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.dynamodb.attributes import added, canonical, number, size_of, size_of_item, subtracted
from infra.local.dynamodb.refusals import Refused

NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**15), max_value=10**15)


@given(NUMBERS)
def test_a_number_keeps_its_value_and_has_one_text(value: Decimal) -> None:
    text = number(str(value))
    assert Decimal(text) == value
    assert {number(form) for form in (f"{value:E}", f"{value:f}", f"{value:f}0" if "." in f"{value:f}" else text)} == {
        text
    }


@given(NUMBERS, NUMBERS)
def test_sums_and_differences_are_exact(one: Decimal, other: Decimal) -> None:
    first, second = number(str(one)), number(str(other))
    assert Decimal(added(first, second)) == one + other
    assert subtracted(added(first, second), second) == first


def test_a_sum_of_more_than_38_digits_is_refused() -> None:
    with pytest.raises(Refused, match="38 significant digits"):
        added("1" * 38, "0.1")
    assert added("9" * 38, "1") == "1" + "0" * 38


@pytest.mark.parametrize("one", ["-5", "0", "7"])
@pytest.mark.parametrize("other", ["-5", "0", "7"])
def test_counters_are_added(one: str, other: str) -> None:
    assert (int(added(one, other)), int(subtracted(one, other))) == (int(one) + int(other), int(one) - int(other))


@pytest.mark.parametrize(
    ("attribute", "form"),
    [
        ({"NS": ["10", "9", "1.0"]}, {"NS": ["1", "9", "10"]}),
        ({"SS": ["b", "a"]}, {"SS": ["a", "b"]}),
        ({"B": bytearray(b"x")}, {"B": b"x"}),
        ({"L": [{"M": {"n": {"N": "01"}}}]}, {"L": [{"M": {"n": {"N": "1"}}}]}),
    ],
)
def test_equal_values_have_equal_forms(attribute: dict[str, Any], form: dict[str, Any]) -> None:
    assert canonical(attribute) == form


@pytest.mark.parametrize(
    "attribute",
    [{}, {"S": "a", "N": "1"}, {"N": "x"}, {"S": 1}, {"SS": []}, {"NULL": False}, {"Q": "a"}, {"BOOL": "x"}],
)
def test_what_is_no_attribute_is_refused(attribute: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        canonical(attribute)


def test_32_levels_and_no_more() -> None:
    attribute: dict[str, Any] = {"S": "a"}
    for _ in range(32):
        attribute = {"L": [attribute]}
    canonical(attribute)
    with pytest.raises(Refused, match="Nesting Levels"):
        canonical({"L": [attribute]})


@pytest.mark.parametrize(
    ("attribute", "size"),
    [
        ({"S": "ü"}, 2),
        ({"B": b"abc"}, 3),
        ({"BOOL": True}, 1),
        ({"NULL": True}, 1),
        ({"N": "0"}, 1),
        ({"N": "1200"}, 2),
        ({"N": "-1.25"}, 4),
        ({"SS": ["a", "bc"]}, 3),
        ({"L": [{"S": "a"}]}, 5),
        ({"M": {"k": {"S": "a"}}}, 6),
    ],
)
def test_sizes_are_as_documented(attribute: dict[str, Any], size: int) -> None:
    assert size_of(attribute) == size
    assert size_of_item({"name": attribute}) == size + 4
