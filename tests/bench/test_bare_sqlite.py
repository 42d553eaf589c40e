"""The floor of a durable write."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from bench.bare_sqlite import loop


def test_rows_are_changed_in_turn_and_are_there_afterwards(tmp_path: Path) -> None:
    counted = loop(tmp_path / "floor.db", 0.05, 3)
    with contextlib.closing(sqlite3.connect(tmp_path / "floor.db")) as connection:
        changed = connection.execute("SELECT count(*) FROM workers WHERE beat > 0").fetchone()[0]
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert changed == min(3, counted["updates"]) and counted["updates"] > 0
