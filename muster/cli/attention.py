"""How conditions are shown: what a worker cannot do, since when, and where to read more."""

from __future__ import annotations

from datetime import datetime

from muster.api import resources as r
from muster.cli import text
from muster.cli.output import Cell, Styled
from muster.cli.shell import Shell

STYLE = "yellow"


def types(conditions: list[r.Condition]) -> Styled:
    """For a cell: GpuLost, ClockSkewed."""
    return Styled(text.line(", ".join(condition.type for condition in conditions)), STYLE)


def held_up(conditions: list[r.Condition]) -> str:
    """For a line of progress: GpuLost: GPU 1 fell off the bus; ClockSkewed: …"""
    return "; ".join(": ".join(filter(None, (condition.type, condition.message))) for condition in conditions)


def section(shell: Shell, conditions: list[r.Condition], now: datetime) -> None:
    """A table of them, if there are any, and which command explains them."""
    if not conditions:
        return
    shell.say("")
    rows: list[tuple[Cell, ...]] = [
        (types([condition]), text.ago(condition.since, now), condition.message) for condition in conditions
    ]
    shell.table(None, "condition since message", rows, "")
    shell.note(text.line(f"muster explain {conditions[0].type} says what to do"))
