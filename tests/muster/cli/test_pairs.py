"""KEY=VALUE on the command line."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.cli import pairs


def test_a_flag_is_json_where_it_can_be_and_text_elsewhere() -> None:
    given = ["max-model-len=4096", "enforce_eager=true", "dtype=half", 'served_model_name=["a", "b"]', "x=007", "y="]
    assert pairs.config(given) == {
        "max_model_len": 4096,
        "enforce_eager": True,
        "dtype": "half",
        "served_model_name": ["a", "b"],
        "x": "007",
        "y": "",
    }


@pytest.mark.parametrize(
    ("given", "flag"),
    [
        ("--speculative-config.num_speculative_tokens", "speculative_config.num_speculative_tokens"),
        ("hf-overrides.text_config.max-x", "hf_overrides.text_config.max-x"),
        ("--max-model-len", "max_model_len"),
    ],
)
def test_a_flag_keeps_its_spelling_after_the_dot(given: str, flag: str) -> None:
    assert pairs.config([f"{given}=3"]) == {flag: 3}


def test_a_flag_that_is_given_twice_is_refused_rather_than_lost() -> None:
    with pytest.raises(click.UsageError, match="lora_modules is given twice"):
        pairs.config(["lora_modules=a=/x", "--lora-modules=b=/y"])
    assert pairs.config(["lora_modules.a=1", "lora_modules.b=2"]) == {"lora_modules.a": 1, "lora_modules.b": 2}


def test_a_truth_value_may_be_written_as_in_python() -> None:
    assert pairs.config(["a=True", "b=False", "c=true"]) == {"a": True, "b": False, "c": True}


@pytest.mark.parametrize("given", ["x", "=x", ""])
def test_what_is_no_pair_is_refused_and_named(given: str) -> None:
    with pytest.raises(click.UsageError) as raised:
        pairs.split([given], "label")
    assert raised.value.message == f"label: expected KEY=VALUE, got {given!r}"


def test_a_value_may_have_an_equals_sign_or_be_empty() -> None:
    assert pairs.split(["a=b=c", "d="], "label") == {"a": "b=c", "d": ""}


def test_a_value_nested_without_end_stays_text() -> None:
    assert pairs.value_of("[" * 100_000) == "[" * 100_000


@given(st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.none() | st.lists(st.text(max_size=5), max_size=3))
def test_a_value_is_shown_as_it_would_be_typed(value: object) -> None:
    assert pairs.value_of(pairs.shown(value)) == value
