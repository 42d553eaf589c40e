"""The floor of a durable heartbeat: one row changed and synced by each transaction, in SQLite with WAL.

    python -m bench.bare_sqlite FILE SECONDS ROWS

What is printed is JSON: `updates`, `seconds`, and `cpu` in seconds.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
import time
from pathlib import Path


def loop(file: Path, seconds: float, rows: int) -> dict[str, float]:
    """Update rows in turn, each in a transaction of its own, for `seconds`."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE IF NOT EXISTS workers (id INTEGER PRIMARY KEY, beat REAL, usage TEXT)")
        connection.executemany("INSERT OR IGNORE INTO workers VALUES (?, 0, '')", ((row,) for row in range(rows)))
        updates, began, busy = 0, time.perf_counter(), time.process_time()
        usage = json.dumps([{"index": 0, "memory_used": 45000000000, "utilization": 85}] * 2)
        while (now := time.perf_counter()) < began + seconds:
            connection.execute("UPDATE workers SET beat = ?, usage = ? WHERE id = ?", (now, usage, updates % rows))
            updates += 1
        return {"updates": updates, "seconds": time.perf_counter() - began, "cpu": time.process_time() - busy}


if __name__ == "__main__":
    print(json.dumps(loop(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))))
