"""Ask before a change that cannot be undone. Without a terminal, --yes is required."""

from __future__ import annotations

import sys
from typing import Any

import click

from muster.cli import text
from muster.cli.shell import FAILED, USAGE, Shell, Stop


def option(function: Any) -> Any:
    return click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")(function)


def ask(shell: Shell, yes: bool, question: str) -> None:
    """Raises Stop unless the answer is yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Stop(f"{question} There is no terminal to ask on: pass --yes", USAGE)
    if not click.confirm(text.line(question), err=True):
        raise Stop("aborted: nothing was changed", FAILED)
