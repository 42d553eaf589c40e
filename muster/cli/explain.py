"""muster explain: what an error code or a condition means and what to do, from the page of this very version."""

from __future__ import annotations

import re
from pathlib import Path

import click
from msgspec import Struct

from muster.cli.shell import NOT_FOUND, Shell, Stop, command

PAGE = "troubleshooting.md"


CONDITION = re.compile(r"(?:[A-Z][a-z]+){2,}")
"""How a heading is written that is a type of condition."""


class Explained(Struct):
    """`error_code` may also be a type of condition."""

    error_code: str
    text: str


@command("explain", examples="muster explain CUDA_OUT_OF_MEMORY\nmuster explain GpuLost")
@click.argument("code")
def explain(shell: Shell, code: str) -> None:
    """Show what an error code or a condition of a worker means, and what to do.

    No control plane is asked.
    """
    code = code.strip("[]")
    known = {heading.upper(): (heading, text) for heading, text in (sections(page()) | conditions(page())).items()}
    found = known.get(code.upper())
    if found is None:
        raise Stop(f"nothing is known of {code.upper()[:64]}: not a code of Muster's", NOT_FOUND)
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
