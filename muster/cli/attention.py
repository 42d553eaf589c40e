"""How conditions are shown: what a worker cannot do, since when, and where to read more."""

from __future__ import annotations

from datetime import datetime

from rich.text import Text

from muster.api import resources as r
from muster.cli import text
from muster.cli.shell import Cell, Shell

STYLE = "yellow"


def types(conditions: list[r.Condition]) -> Text:
    """For a cell: GpuLost, ClockSkewed."""
    return Text(text.line(", ".join(each.type for each in conditions)), STYLE)


def held_up(conditions: list[r.Condition]) -> str:
    """For a line of progress: GpuLost: GPU 1 fell off the bus; ClockSkewed: …"""
    return "; ".join(f"{each.type}: {each.message}" if each.message else each.type for each in conditions)


def section(shell: Shell, conditions: list[r.Condition], now: datetime) -> None:
    """A table of them, if there are any, and which command explains them."""
    if not conditions:
        return
    shell.say("")
    rows: list[tuple[Cell, ...]] = [(types([each]), text.ago(each.since, now), each.message) for each in conditions]
    shell.table(None, "condition since message", rows, "")
    shell.note(text.line(f"muster explain {conditions[0].type} says what to do"))
