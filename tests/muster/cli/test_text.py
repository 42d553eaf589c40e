"""What reaches a terminal: nothing in it that the terminal would obey; figures as people read them."""

from __future__ import annotations

import json
import re
import unicodedata
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.cli import text
from tests.fixtures.operators import Operators
from tests.fixtures.resources import NOW

ATTACK = "\x1b]0;owned\x07\x1b[2J\x9b31m\x08\u202egnp.exe\r"
TEXT = st.text(max_size=20)


@given(TEXT)
def test_nothing_that_steers_a_terminal_is_left(said: str) -> None:
    shown = text.clean(said)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"]
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200e\u200f]", shown)
    assert "\n" not in text.line(said)
    shown.encode()


READABLE = st.text(st.characters(categories=["L", "N", "P", "S"]) | st.sampled_from(" \n"), max_size=20)


@given(READABLE)
def test_text_for_reading_stays_as_it_is(said: str) -> None:
    assert text.clean(said) == said


JSON = st.recursive(
    TEXT | st.integers(),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(TEXT, each, max_size=3),
    max_leaves=6,
)


@given(JSON)
def test_json_means_the_same_without_control_characters(value: object) -> None:
    try:
        encoded = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    except UnicodeEncodeError:
        return  # half a surrogate: msgspec does not write it
    shown = text.escaped_json(encoded)
    assert json.loads(shown) == value
    assert not [c for c in shown if unicodedata.category(c) == "Cc" and c != "\n"]


def test_an_attack_is_shown_by_its_numbers_and_colors_go() -> None:
    assert text.clean(ATTACK) == r"\x1b]0;owned\x07\x1b[2J\x9b31m\x08\u202egnp.exe\x0d"
    assert text.clean("\x1b[1;31mred\x1b[0m\r\nplain") == "red\nplain"
    assert text.line("two\nlines") == "two ⏎ lines"


def test_words_of_workers_and_models_are_cleaned_everywhere(operators: Operators) -> None:
    operators.engine.first_words = f"said {ATTACK}"
    operators.out("deploy org/model --name m --gpus 0 --no-restart --wait")
    operators.out("workers label gpu-1 'a=\x1b[2Jb'")
    container = operators.engine.only()
    operators.engine.die(container.id, 1, f"RuntimeError: {ATTACK}")
    operators.wait(5)
    operators.wait(5)
    every = ("ps", "show m", "logs m", "events", "events m", "workers", "workers show gpu-1", "top", "containers gpu-1")
    for words in (*every, *(f"{each} -o json" for each in every)):
        said = operators.out(words)
        assert not [c for c in said if unicodedata.category(c) == "Cc" and c not in "\n\t"], words
        assert "\u202e" not in said, words
    assert r"said \x1b]0;owned\x07" in operators.out("logs m")
    assert r"\x1b[2Jb" in operators.out("workers show gpu-1")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (text.size(0), "0 B"),
        (text.size(999), "999 B"),
        (text.size(15_000_000_000), "15.0 GB"),
        (text.size(2.5e12), "2.5 TB"),
        (text.memory(80 * 2**30), "80.0 GiB"),
        (text.duration(59.9), "59s"),
        (text.duration(720), "12m"),
        (text.duration(90000), "1d"),
        (text.duration(-5), "0s"),
        (text.ago(NOW - timedelta(hours=3), NOW), "3h"),
        (text.before(NOW, "10m"), "2026-11-24T05:50:00Z"),
        (text.before(NOW, "2026-11-24T05:00:00Z"), "2026-11-24T05:00:00Z"),
        (text.before(NOW, "2026-11-24T05:00:00.25+01:00"), "2026-11-24T05:00:00.25+01:00"),
        (text.before(NOW, "2026-11-24 05:00:00"), "2026-11-24 05:00:00"),
        (text.before(NOW, "2026-11-24"), None),
        (text.before(NOW, "20261124T050000Z"), None),
        (text.before(NOW, "yesterday"), None),
    ],
)
def test_a_figure_is_shown_in_its_largest_unit(said: str | None, expected: str | None) -> None:
    assert said == expected


@pytest.mark.parametrize(
    ("given_", "expected"), [("90", 90.0), ("1.5h", 5400.0), ("3d", 259200.0), ("5w", None), ("", None), ("-1s", None)]
)
def test_a_duration_is_a_number_with_a_unit(given_: str, expected: float | None) -> None:
    assert text.seconds(given_) == expected
