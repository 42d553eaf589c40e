"""Prometheus' text format, written: a few lines, where the client library would be a registry to carry into Lambda.

Whether it is right is not for this module to say: the tests read it with the client library and with promtool.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
Labels = tuple[tuple[str, str], ...]


@dataclass
class Family:
    """A metric and its samples. Of two with the same labels the last counts: Prometheus refuses such a pair."""

    name: str
    kind: Literal["gauge", "counter"]
    help: str
    samples: dict[Labels, float] = field(default_factory=dict)

    def add(self, value: float, **labels: str | None) -> None:
        """A label without a value is none."""
        self.samples[tuple((name, text) for name, text in labels.items() if text)] = value


def text(families: Iterable[Family]) -> str:
    return "".join(line + "\n" for family in families for line in _lines(family))


def _lines(family: Family) -> Iterable[str]:
    yield f"# HELP {family.name} {family.help}"
    yield f"# TYPE {family.name} {family.kind}"
    for labels, value in family.samples.items():
        named = ",".join(f'{name}="{value_.translate(_ESCAPES)}"' for name, value_ in labels)
        yield f"{family.name}{{{named}}} {value!r}" if named else f"{family.name} {value!r}"
