"""Standard output and standard error: plain text without a terminal, colors and tables of rich on a terminal.

rich takes longer to import than most commands run. So the module is imported only for a terminal, for text whose width
differs from its length, and for text with tabs.
"""

from __future__ import annotations

import os
import sys
from functools import cached_property
from typing import TYPE_CHECKING, TextIO

from muster.cli import text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

PIPED_COLUMNS = 100_000
"""Columns of a stream that is no terminal: nothing is cut where a program may read it."""
MAX_ALIGNED_COLUMNS = 40
"""Columns of the longest cell for which the other lines of a piped table make room."""


class Styled:
    """Text that is clean already, with a style of rich."""

    __slots__ = ("plain", "style")

    def __init__(self, plain: str, style: str) -> None:
        self.plain = plain
        self.style = style

    def __str__(self) -> str:
        return self.plain


Cell = str | Styled | None


class Stream:
    """Standard output, or standard error."""

    def __init__(self, *, stderr: bool) -> None:
        self._stderr = stderr

    @property
    def file(self) -> TextIO:
        return sys.stderr if self._stderr else sys.stdout

    @cached_property
    def is_terminal(self) -> bool:
        """Whether colors are wanted. Variables that rich reads may say so of a stream that is no terminal."""
        if os.environ.get("FORCE_COLOR") or "TTY_COMPATIBLE" in os.environ:
            return self.console.is_terminal
        return self.file.isatty()

    @cached_property
    def console(self) -> Console:
        from rich.console import Console

        made = Console(stderr=self._stderr, highlight=False, markup=False, emoji=False)
        if not made.is_terminal:
            made.width = PIPED_COLUMNS
        return made

    def line(self, *parts: Cell, style: str = "") -> None:
        """Write the parts on one line."""
        shown = "".join(map(plain, parts))
        if self.is_terminal or "\t" in shown:
            self.console.print(rich_text(*parts), soft_wrap=True, style=style or None)
        else:
            self.file.write(f"{shown}\n")
            self.file.flush()

    def table(self, columns: str, rows: list[tuple[Cell, ...]]) -> None:
        if self.is_terminal:
            self.console.print(table(columns, rows))
        else:
            for line in piped(columns, rows):
                self.line(Styled(line, ""))


def plain(value: Cell) -> str:
    """Cleaned: nothing else makes text for a terminal of what came from outside."""
    if isinstance(value, Styled):
        return value.plain
    return text.clean(value) if value else "-" if value is None else ""


def rich_text(*parts: Cell) -> Text:
    from rich.text import Text

    return Text.assemble(*((plain(part), part.style if isinstance(part, Styled) else "") for part in parts))


def table(columns: str, rows: list[tuple[Cell, ...]]) -> Table:
    """Columns that no terminal's width cuts short without a trace: what does not fit is folded."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns.split():
        made.add_column(name.replace("_", " ").upper(), overflow="fold")
    for row in rows:
        made.add_row(*(rich_text(text.line(value) if value and isinstance(value, str) else value) for value in row))
    return made


def piped(columns: str, rows: list[tuple[Cell, ...]]) -> list[str]:
    """The lines of a table that a program reads: two spaces between cells, and none at the end of a line.

    A cell that is longer than MAX_ALIGNED_COLUMNS moves the rest of its own line alone.
    """
    heads = tuple(name.replace("_", " ").upper() for name in columns.split())
    cells = [heads, *(tuple(_on_one_line(value) for value in row) for row in rows)]
    aligned = [[_width(row[at]) for row in cells if _width(row[at]) <= MAX_ALIGNED_COLUMNS] for at in range(len(heads))]
    widths = [max(lengths, default=0) for lengths in aligned]
    lines = ("  ".join(_padded(value, width) for value, width in zip(row, widths, strict=True)) for row in cells)
    return [line.rstrip() for line in lines]


def _on_one_line(value: Cell) -> str:
    return text.line(value) if isinstance(value, str) and value else plain(value)


def _padded(value: str, width: int) -> str:
    return value + " " * (width - _width(value))


def _width(value: str) -> int:
    """Columns of the text on a terminal."""
    if value.isascii():
        return len(value)
    from rich.cells import cell_len

    return cell_len(value)
