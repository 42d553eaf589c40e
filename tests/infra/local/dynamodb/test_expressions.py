"""Plans: compiled once for a text and its names, and what they need of each request. Results are in cases/."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.dynamodb.attributes import Item
from infra.local.dynamodb.expressions import plan_of, projected
from infra.local.dynamodb.refusals import Refused


def request(**more: Any) -> dict[str, Any]:
    return {"UpdateExpression": "SET #n = :v", "ExpressionAttributeNames": {"#n": "count"}, **more}


def test_a_text_is_compiled_once_for_its_names() -> None:
    assert plan_of(request()) is plan_of(request())
    other = plan_of(request(ExpressionAttributeNames={"#n": "other"}))
    assert other is not plan_of(request())
    assert other.update is not None and other.update.apply({}, {":v": {"N": "1"}}) == {"other": {"N": "1"}}


def test_an_update_leaves_the_item_that_it_read() -> None:
    expression = "SET l[1] = :v, m.a.b = :v REMOVE l[0] ADD n :v DELETE s :s"
    update = plan_of({"UpdateExpression": expression}).update
    assert update is not None
    item: Item = {
        "l": {"L": [{"S": "x"}, {"S": "y"}]},
        "m": {"M": {"a": {"M": {}}}},
        "n": {"N": "1"},
        "s": {"SS": ["a", "b"]},
    }
    before = repr(item)
    made = update.apply(item, {":v": {"N": "7"}, ":s": {"SS": ["a"]}})
    assert repr(item) == before
    assert made == {
        "l": {"L": [{"N": "7"}]},
        "m": {"M": {"a": {"M": {"b": {"N": "7"}}}}},
        "n": {"N": "8"},
        "s": {"SS": ["b"]},
    }


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({}, "value used in expression is not defined; attribute value: :v"),
        ({":v": {"N": "1"}, ":w": {"N": "1"}}, "unused in expressions: keys: {:w}"),
    ],
)
def test_the_values_are_those_of_the_expressions(given_: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said):
        plan_of(request()).values(given_ or None)


def test_values_are_canonical() -> None:
    assert plan_of(request()).values({":v": {"N": "1.0"}}) == {":v": {"N": "1"}}


@given(st.lists(st.integers(0, 5), unique=True, min_size=1))
def test_a_projection_has_elements_in_the_lists_order(indexes: list[int]) -> None:
    item = {"l": {"L": [{"N": str(number)} for number in range(4)]}}
    found = projected(item, tuple(("l", index) for index in indexes))
    wanted = [{"N": str(index)} for index in sorted(indexes) if index < 4]
    assert found == ({"l": {"L": wanted}} if wanted else {})
