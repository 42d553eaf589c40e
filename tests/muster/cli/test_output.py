"""Where words go, and that a stream without a terminal has the text that rich would write."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from muster.cli.output import PIPED_COLUMNS, Cell, Stream, Styled, rich_text
from muster.cli.shell import Shell


def test_a_table_is_not_cut_where_a_program_may_read_it(capsys: pytest.CaptureFixture[str]) -> None:
    Shell().table(None, "name disk_free", [("x" * 300, "1 B"), (None, "\x1b[2J\n")], "none")
    said = capsys.readouterr()
    assert said.out.splitlines() == ["NAME  DISK FREE", f"{'x' * 300}  1 B", "-     \\x1b[2J ⏎"]
    assert said.err == ""


def test_a_piped_table_is_as_wide_as_its_cells_and_one_long_cell_moves_its_own_line_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows: list[tuple[Cell, ...]] = [
        ("qwen", "m" * 700, "1d"),
        ("a-longer-name", "why", Styled("2d", "red")),
        ("漢字", None, ""),
    ]
    Shell().table(None, "name message age", rows, "none")
    assert capsys.readouterr().out.splitlines() == [
        "NAME           MESSAGE  AGE",
        f"qwen           {'m' * 700}  1d",
        "a-longer-name  why      2d",
        "漢字           -",
    ]


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        "",
        None,
        "two\nlines\n",
        "a\tb\n漢字\tc",
        "\x1b[31mred\x07 \r\nend  ",
        "漢" * 300,
        Styled("styled", "red"),
    ],
)
def test_a_pipe_has_the_text_that_rich_would_write(capsys: pytest.CaptureFixture[str], value: Cell) -> None:
    expected = io.StringIO()
    console = Console(file=expected, highlight=False, markup=False, emoji=False, width=PIPED_COLUMNS)
    console.print(rich_text(value), soft_wrap=True)
    Stream(stderr=False).line(value)
    Stream(stderr=True).line(value, style="dim")
    assert capsys.readouterr() == (expected.getvalue(), expected.getvalue())


@pytest.mark.parametrize(("variables", "colored"), [({}, False), ({"FORCE_COLOR": "1"}, True)])
def test_colors_can_be_forced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variables: dict[str, str], colored: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    Stream(stderr=False).line("a ", Styled("b", "red"), " c")
    assert ("\x1b[31mb" in capsys.readouterr().out) == colored


def test_parts_are_written_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Stream(stderr=False).line("a ", Styled("b", "red"), " c")
    assert capsys.readouterr().out == "a b c\n"
