"""The project's Markdown, taken apart: fenced blocks with the comment before them, links, headings."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"(?:^<!-- (?P<comment>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#+ (?P<text>.+)$", re.M)


@dataclass(frozen=True)
class Block:
    """A fenced block. `comment` is that of the line right before it."""

    file: str
    line: int
    language: str
    comment: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@cache
def files() -> tuple[str, ...]:
    """Every file of the repository, relative to it, that git does not ignore."""
    listed = (
        "git",
        "-C",
        str(ROOT),
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    )
    output = subprocess.run(listed, check=True, capture_output=True, text=True).stdout
    return tuple(sorted(name for name in set(output.split("\0")) if name and (ROOT / name).is_file()))


def pages() -> list[str]:
    return [name for name in files() if name.endswith(".md")]


def read(name: str) -> str:
    return (ROOT / name).read_text()


def blocks(name: str) -> Iterator[Block]:
    text = read(name)
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(name, line, found["language"], found["comment"], found["text"])


def links(name: str) -> list[str]:
    """Targets within the repository; what is in a code block is no link."""
    targets = (found["target"] for found in _LINK.finditer(_FENCE.sub("", read(name))))
    return [each for each in targets if not re.match(r"[a-z]+:", each)]


def anchors(name: str) -> set[str]:
    """The ids that GitHub gives to the headings of a page."""
    headings = (found["text"] for found in _HEADING.finditer(_FENCE.sub("", read(name))))
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
