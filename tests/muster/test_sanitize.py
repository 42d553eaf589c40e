"""What others wrote, as it may stand on a terminal or in a log."""

from __future__ import annotations

import io
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.sanitize import Formatter, escape_control_characters


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain text, ümläuts, 漢字 and 🙂", "plain text, ümläuts, 漢字 and 🙂"),
        ("a\nb\r\nc\td", r"a\nb\r\nc\td"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x9b2J", r"\x9b2J"),
        ("line\u2028end\u2029", r"line\u2028end\u2029"),
        ("photo\u202egnp.exe", r"photo\u202egnp.exe"),
        ("no\u200bwidth\ufeff", r"no\u200bwidth\ufeff"),
        ("half \ud800", r"half \ud800"),
        ("\x00\x7f", r"\x00\x7f"),
    ],
)
def test_what_a_terminal_would_obey_is_written_as_its_number(text: str, seen: str) -> None:
    assert escape_control_characters(text) == seen


@given(st.text())
def test_shown_text_is_one_line_that_can_be_encoded_and_is_shown_as_it_is(text: str) -> None:
    seen = escape_control_characters(text)
    assert len(seen.splitlines()) <= 1
    assert seen.encode("utf-8").decode("utf-8") == seen
    assert escape_control_characters(seen) == seen


def logged(message: str, *arguments: object, error: BaseException | None = None) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Formatter("%(levelname)s %(message)s"))
    record = logging.LogRecord("agent", logging.INFO, __file__, 1, message, arguments, None)
    if error is not None:
        record.exc_info = (type(error), error, error.__traceback__)
    handler.handle(record)
    return stream.getvalue()


def test_one_record_is_one_line() -> None:
    assert logged("named %s", "x\nINFO registered as worker attacker") == (
        "INFO named x\\nINFO registered as worker attacker\n"
    )


def test_a_traceback_stands_indented_below_its_record_and_no_line_of_it_begins_one() -> None:
    try:
        raise ValueError("x\nINFO registered as worker attacker \x1b[2J")
    except ValueError:
        error = sys.exc_info()[1]
    lines = logged("it failed", error=error).splitlines()
    assert lines[0] == "INFO it failed"
    assert all(line.startswith("    ") for line in lines[1:])
    assert "    ValueError: x" in lines
    assert not any("\x1b" in line for line in lines)


def test_a_traceback_that_another_handler_wrote_is_written_anew() -> None:
    record = logging.LogRecord("agent", logging.INFO, __file__, 1, "it failed", (), None)
    record.exc_text = "forged\nINFO registered as worker attacker"
    assert Formatter("%(message)s").format(record) == "it failed"
