"""`python -m tests.simulation --seeds 1000 [--first 0]`: prints what happened, and the trace of each violation."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import tests.server.conftest  # noqa: F401  # credentials, for a database that needs none
from chalicelib import tables
from infra.local_dynamodb import Engine
from infra.local_store import Store
from tests.server.database import DATABASE, Recorder
from tests.simulation.simulation import Violation, simulate


def simulate_all(seeds: Iterable[int], recorder: Recorder, folder: Path) -> tuple[Counter[str], list[str]]:
    """How often each thing happened, and the violations; every seed has an empty database and fresh hosts."""
    happened: Counter[str] = Counter()
    violations: list[str] = []
    for seed in seeds:
        place = folder / str(seed)
        place.mkdir()
        recorder.engine = Engine(Store(place / "items"))
        recorder.calls.clear()
        tables.create_tables()
        try:
            happened += simulate(seed, recorder, place).weather.happened
        except Violation as violation:
            violations.append(str(violation))
    return happened, violations


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    shared = Path("/dev/shm")
    seeds = range(options.first, options.first + options.seeds)
    with (
        tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as scratch,
        DATABASE.embedded(Path(scratch) / "items") as recorder,
    ):
        happened, violations = simulate_all(seeds, recorder, Path(scratch))
    for violation in violations:
        print(violation, file=sys.stderr)
    for what, count in sorted(happened.items()):
        print(f"{count:8d} {what}")
    print(f"{options.seeds} seeds, {len(violations)} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    raise SystemExit(main())
