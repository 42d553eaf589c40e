"""A `muster …` line as people type it, understood by click as far as that goes without doing anything."""

from __future__ import annotations

import re
import shlex

import click

from muster.cli.main import muster

_MUSTER = re.compile(r"(?<![\w./~-])muster (?=[a-z-])")


def lines(text: str) -> list[str]:
    """The lines of a shell's text that call muster, continued ones joined."""
    joined = text.replace("\\\n", " ").splitlines()
    return [each for each in joined if _MUSTER.search(each.partition("#")[0])]


def parse(line: str) -> None:
    """Raises click.ClickException for the first call in the line that would not be understood."""
    calls = _MUSTER.split(line.partition(" #")[0])[1:]
    assert calls, f"no muster in {line!r}"
    for each in calls:
        own = re.split(r"\s*[|;&)`<>]", each)[0]
        _understand(muster, "muster", shlex.split(own))


def _understand(command: click.Command, name: str, words: list[str], parent: click.Context | None = None) -> None:
    context = command.make_context(name, list(words), parent)
    if isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        found_name, found, left = command.resolve_command(context, rest)
        assert found is not None and found_name is not None
        _understand(found, found_name, left, context)
