"""Of a log that no rule knows: the lines that say most about its end."""

from __future__ import annotations

import pytest

from muster.diagnostics.lines import read
from muster.diagnostics.telling import MAX_TELLING_LINES, telling

ROOT = "(EngineCore pid=2) ERROR 11-23 14:09:12 [core.py:3] my.module.WeirdError: the cause"
PARENT = "RuntimeError: Engine core initialization failed. See root cause above."


@pytest.mark.parametrize(
    "line",
    [
        "/tmp/main.c:5:10: fatal error: what.h: odd",
        "ptxas fatal   : Unresolved extern function",
        "  what():  odd",
        "[E1001 16:06:04.5 Odd.cpp:607] [Rank 2] odd",
        "triton.runtime.errors.OutOfResources: odd",
        "/usr/bin/ld: cannot find -lodd",
        "Segmentation fault (core dumped)",
        "thread '<unnamed>' panicked at src/lib.rs:3:5:",
        "AssertionError",
        "odd.module.Strange: it is",
        "error: odd",
    ],
)
def test_what_is_no_python_exception_is_told_as_well(line: str) -> None:
    assert telling(read(f"hello\n{line}\nbye")) == [line.strip()]


def test_the_root_comes_before_what_its_parents_say() -> None:
    assert telling(read(f"{PARENT}\n{ROOT}\n{PARENT}")) == ["my.module.WeirdError: the cause"]


def test_a_parents_summary_is_told_where_nothing_else_is() -> None:
    assert telling(read(f"hello\n{PARENT}")) == [PARENT]


def test_of_exceptions_that_came_of_one_another_the_last_comes_first() -> None:
    log = "KeyError: 'a'\nDuring handling of the above exception, another exception occurred:\nValueError: b"
    assert telling(read(log)) == ["ValueError: b", "KeyError: 'a'"]


def test_few_lines_are_told_and_each_once() -> None:
    log = "\n".join(f"ValueError: {n % 7}" for n in range(70))
    assert telling(read(log)) == [f"ValueError: {n}" for n in range(MAX_TELLING_LINES)]


def test_a_log_without_errors_has_nothing_to_tell() -> None:
    assert telling(read("hello\n\nbye")) == []
