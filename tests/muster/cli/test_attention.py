"""Conditions on a terminal: the type, since when, what it says, and where to read more."""

from __future__ import annotations

from datetime import timedelta

import pytest

from muster.cli import attention
from muster.cli.shell import Shell
from tests.fixtures.resources import NOW, condition
from tests.fixtures.tables import columns

LOST = condition()
HOSTILE = condition(type="\x1b[2JEvil", message="a\x1b]0;owned\x07\u202eb\nc")


def test_a_cell_has_the_types_alone() -> None:
    assert attention.types([LOST, condition(type="ClockSkewed")]).plain == "GpuLost, ClockSkewed"
    assert "\x1b" not in attention.types([HOSTILE]).plain


def test_a_line_of_progress_has_the_messages() -> None:
    assert attention.held_up([LOST, condition(type="New", message="")]) == "GpuLost: GPU 1 fell off the bus; New"


def test_a_section_has_since_and_the_message_and_names_the_command_that_explains(
    capsys: pytest.CaptureFixture[str],
) -> None:
    attention.section(Shell(), [LOST], NOW + timedelta(minutes=12))
    said = capsys.readouterr()
    assert columns(said.out.lstrip("\n")) == [
        ["CONDITION", "SINCE", "MESSAGE"],
        ["GpuLost", "12m", "GPU 1 fell off the bus"],
    ]
    assert said.err == "muster explain GpuLost says what to do\n"


def test_what_a_host_wrote_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    attention.section(Shell(), [HOSTILE], NOW)
    said = capsys.readouterr()
    assert not set("\x1b\x07\u202e") & set(said.out + said.err) and len(said.out.strip().splitlines()) == 2


def test_where_all_is_in_order_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    attention.section(Shell(), [], NOW)
    assert capsys.readouterr() == ("", "")
