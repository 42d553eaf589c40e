"""muster explain: what an error code means and what to do, from the page that everybody reads, of this very version."""

from __future__ import annotations

import re
from pathlib import Path

import click
from msgspec import Struct

from muster.cli.shell import NOT_FOUND, Shell, Stop, command

PAGE = "troubleshooting.md"


class Explained(Struct):
    error_code: str
    text: str


@command("explain", examples="muster explain CUDA_OUT_OF_MEMORY\nmuster explain model_gated")
@click.argument("code")
def explain(shell: Shell, code: str) -> None:
    """Show what an error code means, and what to do.

    No control plane is asked.
    """
    code = code.strip("[]").upper()
    text = sections(page()).get(code)
    if text is None:
        raise Stop(f"nothing is known of {code[:64]}: not a code of Muster's", NOT_FOUND)
    shell.show(Explained(code, text), text)


def page() -> str:
    """Beside this package where it was installed, in docs/ where it is developed."""
    package = Path(__file__).parents[1]
    installed = package / PAGE
    return (installed if installed.exists() else package.parent / "docs" / PAGE).read_text(encoding="utf-8")


def sections(markdown: str) -> dict[str, str]:
    """By code, as it is read in a terminal: links without their targets, blocks of commands without their fences."""
    parts = re.split(r"^#+ (.+)\n", markdown, flags=re.M)
    found = {heading: body for heading, body in zip(parts[1::2], parts[2::2], strict=True) if heading.isupper()}
    return {heading: _plain(body) for heading, body in found.items()}


def _plain(text: str) -> str:
    blocks = re.sub(
        r"^```\w*\n(.*?)^```$",
        lambda block: re.sub("^", "    ", block[1].rstrip(), flags=re.M),
        text,
        flags=re.M | re.S,
    )
    return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", blocks).strip()


COMMANDS = (explain,)
