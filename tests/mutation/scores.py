"""What a mutation run has found so far, and the table of docs/reliability.md."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import tomllib

from tests.fixtures import ROOT

RESULTS = ROOT / "build" / "mutation"
REASONS = ROOT / "tests" / "mutation" / "survivors.toml"
PAGE = ROOT / "docs" / "reliability.md"
HEAD = "| module | mutations | killed | score | survivors with a reason |\n|---|---|---|---|---|\n"


@dataclass
class Findings:
    """Mutation key -> whether it survived, of one module with its tests as they are now; kept in a file."""

    path: Path
    digest: str
    survived: dict[str, bool] = field(default_factory=dict)

    @classmethod
    def of(cls, module: str, tests: str, folder: Path = RESULTS) -> Findings:
        """Those of an earlier run, unless the module or its tests have changed since."""
        content = (ROOT / module).read_bytes() + (ROOT / tests).read_bytes()
        found = cls(folder / f"{module.replace('/', '.')}.json", hashlib.sha256(content).hexdigest())
        if found.path.exists():
            kept = json.loads(found.path.read_text())
            if kept["digest"] == found.digest:
                found.survived = kept["survived"]
        return found

    def note(self, key: str, survived: bool) -> None:
        self.survived[key] = survived
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps({"digest": self.digest, "survived": self.survived}, indent=1))


def reasons(module: str) -> dict[str, str]:
    """Mutation key -> why no test can, or need, tell it from the module."""
    content = tomllib.loads(REASONS.read_text())
    return {str(key): str(why) for key, why in content.get(module, {}).items()}


@dataclass(frozen=True)
class Score:
    module: str
    mutations: int
    killed: int
    with_reason: int

    @property
    def percent(self) -> float:
        return 100 * self.killed / self.mutations if self.mutations else 100.0

    def row(self) -> str:
        figures = f"{self.mutations:,} | {self.killed:,} | {self.percent:.1f} % | {self.with_reason:,}"
        return f"| `{self.module}` | {figures} |\n"


def recorded(page: str, score: Score) -> str:
    """The page with the module's row as it is now, in the order of the names. Raises ValueError without the table."""
    before, head, after = page.partition(HEAD)
    if not head:
        raise ValueError(f"no table of mutation scores: {HEAD}")
    lines = after.splitlines(keepends=True)
    end = next((number for number, line in enumerate(lines) if not line.startswith("| `")), len(lines))
    rows = [line for line in lines[:end] if not line.startswith(f"| `{score.module}` |")]
    return before + head + "".join(sorted([*rows, score.row()])) + "".join(lines[end:])
