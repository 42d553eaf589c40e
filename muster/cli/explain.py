"""muster explain: what an error code or a condition means and what to do, from the page of this very version, and what
ended a model, from its log.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

import click
from msgspec import Struct

from muster.api.messages import Fix
from muster.cli import fix_command
from muster.cli.shell import NOT_FOUND, USAGE, Shell, Stop, command
from muster.diagnostics import diagnose

PAGE = "troubleshooting.md"


CONDITION = re.compile(r"(?:[A-Z][a-z]+){2,}")
"""How a heading is written that is a type of condition."""


class Explained(Struct):
    """`error_code` may also be a type of condition."""

    error_code: str
    text: str


MAX_LOG_BYTES = 64 * 1024 * 1024
"""Of a log as much is read, of its end."""


class Ended(Struct):
    """The diagnosis of a log. `permanent`: a restart does not help."""

    error_code: str
    message: str
    permanent: bool
    fix: Fix | None = None


@command(
    "explain",
    examples="muster explain CUDA_OUT_OF_MEMORY\nmuster explain GpuLost\nmuster explain --log - --exit-code 1",
)
@click.argument("code", required=False)
@click.option("--log", type=click.File("rb"), metavar="FILE", help="Diagnose a log of vLLM; - is standard input.")
@click.option("--exit-code", type=int, metavar="N", help="With --log: exit code of the program.")
def explain(shell: Shell, code: str | None, log: BinaryIO | None, exit_code: int | None) -> None:
    """Explain an error code, a condition of a worker, or the log of a program that failed.

    Needs no control plane.
    """
    if (code is None) == (log is None):
        raise Stop("give a code, or a log with --log", USAGE)
    if log is not None:
        _explain_log(shell, log, exit_code)
    elif code is not None:
        _explain_code(shell, code)


def _explain_log(shell: Shell, log: BinaryIO, exit_code: int | None) -> None:
    found = diagnose(_end(log), exit_code, oom_killed=False)
    again = "A restart does not help." if found.permanent else "A restart may help."
    fix = [f"The proposed fix: {fix_command.command(found.fix, 'NAME')}"] if found.fix is not None else []
    lines = (f"{found.error_code}: {found.message}", again, *fix, f"More: muster explain {found.error_code}")
    shell.show(Ended(*found), *lines)


def _end(log: BinaryIO) -> str:
    kept = b""
    while part := log.read(MAX_LOG_BYTES):
        kept = (kept + part)[-MAX_LOG_BYTES:]
    return kept.decode(errors="replace")


def _explain_code(shell: Shell, code: str) -> None:
    code = code.strip("[]")
    known = {heading.upper(): (heading, text) for heading, text in (sections(page()) | conditions(page())).items()}
    found = known.get(code.upper())
    if found is None:
        raise Stop(f"{code.upper()[:64]} is not an error code or condition of Muster", NOT_FOUND)
    shell.show(Explained(*found), found[1])


def page() -> str:
    """Beside this package where it was installed, in docs/ where it is developed."""
    package = Path(__file__).parents[1]
    installed = package / PAGE
    return (installed if installed.exists() else package.parent / "docs" / PAGE).read_text(encoding="utf-8")


def sections(markdown: str) -> dict[str, str]:
    """By code, as it is read in a terminal: links without their targets, blocks of commands without their fences."""
    return {heading: text for heading, text in _parts(markdown) if heading.isupper()}


def conditions(markdown: str) -> dict[str, str]:
    """The same by type of condition."""
    return {heading: text for heading, text in _parts(markdown) if CONDITION.fullmatch(heading)}


def _parts(markdown: str) -> list[tuple[str, str]]:
    parts = re.split(r"^#+ (.+)\n", markdown, flags=re.M)
    return [(heading, _plain(body)) for heading, body in zip(parts[1::2], parts[2::2], strict=True)]


def _plain(text: str) -> str:
    blocks = re.sub(
        r"^```\w*\n(.*?)^```$",
        lambda block: re.sub("^", "    ", block[1].rstrip(), flags=re.M),
        text,
        flags=re.M | re.S,
    )
    return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", blocks).strip()


COMMANDS = (explain,)
