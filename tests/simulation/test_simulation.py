"""A few seeds in every run; `make simulate SEEDS=1000` for more."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.server.database import DATABASE
from tests.simulation.__main__ import simulate_all

SEEDS = range(6)


def test_nothing_is_lost_and_nothing_runs_twice(tmp_path: Path) -> None:
    with DATABASE.embedded(tmp_path / "items") as recorder:
        happened, violations = simulate_all(SEEDS, recorder, tmp_path)
    assert not violations, "\n".join(violations)
    faults = ["answer lost", "function killed", "request delayed", "request doubled", "request lost"]
    rare = {fault: happened[fault] for fault in faults if happened[fault] < len(SEEDS) // 2}
    assert rare == Counter(), "a fault that hardly happens proves nothing"
