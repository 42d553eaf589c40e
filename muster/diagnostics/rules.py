"""The table of known causes: what a row says, and how rows are read from `tables`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Literal, NamedTuple

import msgspec

from muster.api.messages import Fix
from muster.diagnostics.fixes import CALCULATIONS

TABLES = (
    "docker",
    "pulls",
    "limits",
    "memory",
    "gpu",
    "communication",
    "image",
    "weights",
    "hub",
    "host",
    "configuration",
    "endings",
)
"""Of two rows that fit one line the upper wins, and a row of an earlier table stands above one of a later."""

UNNAMED_REGISTRY = "<registry>"
"""In advice, where nobody says which."""

Medium = Literal["log", "docker"]
Tells = Literal["cause", "symptom", "ending"]


class FixOf(msgspec.Struct, forbid_unknown_fields=True):
    """The change that would heal it. A text in braces is a group of the pattern: `{ max_lora_rank = "{rank}" }`."""

    config: dict[str, str | int | float | bool] = {}
    env: dict[str, str] = {}
    gpus: str | None = None


class Row(msgspec.Struct, forbid_unknown_fields=True):
    """One cause.

    match      regular expressions; any of them on one line. Named groups may be used in `advice` and `fix`.
    code       the error code (docs/troubleshooting.md), and
    permanent  whether starting it again, with nothing changed, is in vain
    advice     what it means and what to do, in whole sentences
    read       in which texts: the log of an instance, or what the Docker daemon says
    tells      "cause"; "symptom": counts only where the text has no cause; "ending": only where nothing else fits
    group      rows of one group explain one failure: the uppermost that any line fits gives the advice
    begun      whether it is told only of a pull of which something had come
    fix        the change that would heal it, or `calculate`, a name in fixes.CALCULATIONS that works it out
    examples   lines that it is for, each as somebody met it
    """

    code: str
    permanent: bool
    match: tuple[str, ...]
    advice: str
    examples: tuple[str, ...]
    read: tuple[Medium, ...] = ("log",)
    tells: Tells = "cause"
    group: str = ""
    begun: bool = False
    fix: FixOf | None = None
    calculate: str | None = None


class Advice(NamedTuple):
    text: str
    fix: Fix | None


@dataclass(frozen=True)
class Rule:
    """A row that is ready for use. `number` orders rules; `table` names the file."""

    row: Row
    table: str
    number: int
    patterns: tuple[re.Pattern[str], ...] = field(repr=False)

    @property
    def code(self) -> str:
        return self.row.code

    def search(self, line: str) -> re.Match[str] | None:
        return next((found for pattern in self.patterns if (found := pattern.search(line))), None)

    def advise(self, match: re.Match[str], names: Mapping[str, str] | None = None) -> Advice:
        """What to do about this line. `names` are further words of the advice, as the registry's."""
        groups = {"registry": UNNAMED_REGISTRY, **match.groupdict(default="?"), **(names or {})}
        text = self.row.advice.format_map(groups)
        if self.row.calculate is not None:
            more, fix = CALCULATIONS[self.row.calculate](match)
            return Advice(f"{text} {more}".strip(), fix)
        return Advice(text, _filled(self.row.fix, groups) if self.row.fix is not None else None)


@cache
def rules(medium: Medium) -> tuple[Rule, ...]:
    """Those of one kind of text, the upper first."""
    return tuple(rule for rule in every_rule() if medium in rule.row.read)


@cache
def every_rule() -> tuple[Rule, ...]:
    read = [(table, row) for table in TABLES for row in read_table(table)]
    return tuple(
        Rule(row, table, number, tuple(map(re.compile, row.match))) for number, (table, row) in enumerate(read)
    )


def read_table(name: str) -> tuple[Row, ...]:
    """Raises msgspec.ValidationError for a row that is not one."""
    text = (files("muster.diagnostics") / "tables" / f"{name}.toml").read_text(encoding="utf-8")
    return msgspec.toml.decode(text, type=_Table).rule


class _Table(msgspec.Struct, forbid_unknown_fields=True):
    rule: tuple[Row, ...]


def _filled(fix: FixOf, groups: Mapping[str, str]) -> Fix:
    config = {
        name: _number(value.format_map(groups)) if isinstance(value, str) else value
        for name, value in fix.config.items()
    }
    env = {name: value.format_map(groups) for name, value in fix.env.items()}
    return Fix(config, int(fix.gpus.format_map(groups)) if fix.gpus else None, env)


def _number(text: str) -> str | int | float:
    try:
        return int(text)
    except ValueError:
        return text
