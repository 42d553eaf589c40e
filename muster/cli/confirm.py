"""Asking before what cannot be undone; where there is nobody to ask, --yes has to be said."""

from __future__ import annotations

import sys
from typing import Any

import click

from muster.cli import text
from muster.cli.shell import FAILED, USAGE, Shell, Stop


def option(function: Any) -> Any:
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(function)


def ask(shell: Shell, yes: bool, question: str) -> None:
    """Raises Stop unless the answer is yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Stop(f"{question} Nobody is there to ask: say --yes", USAGE)
    if not click.confirm(text.line(question), err=True):
        raise Stop("nothing was done", FAILED)
