"""`python -m tests.simulation --seeds 1000 [--first 0] [--jobs 2] [--database dynoxide]` simulates a range of seeds.

It prints what happened, and each violation's diary.

Ends with 1 where there was a violation, or where a fault was too rare for the seeds to prove anything.
"""

from __future__ import annotations

import gc
import itertools
import logging
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.progress import track

import tests.fixtures.credentials  # noqa: F401  # credentials, for a database that needs none
from chalicelib.store import tables
from tests.fixtures import dynoxide
from tests.simulation.database import MemoryStorage, RemoteStorage, Storage, UnreliableDynamoDB
from tests.simulation.entropy import seeded
from tests.simulation.faults import STORMS
from tests.simulation.minima import too_rare
from tests.simulation.simulation import NO_FOCUS, PLOTS, Focus, Violation, simulate

SHARED = Path("/dev/shm")
CHUNK = 20
MEMORY, DYNOXIDE = DATABASES = "memory", "dynoxide"
"""The embedded engine, and another one behind HTTP, where no read lags."""


@contextmanager
def storage(database: str) -> Iterator[Storage]:
    """Raises dynoxide.Unavailable."""
    if database == MEMORY:
        yield MemoryStorage()
    else:
        with dynoxide.running() as url:
            yield RemoteStorage(url)


def simulate_all(
    seeds: range, diaries: bool = False, focus: Focus = NO_FOCUS, database: str = MEMORY
) -> tuple[Counter[str], list[str]]:
    """How often each thing happened, and the violations. Every seed begins with an empty database and fresh hosts."""
    logging.disable(logging.CRITICAL)
    gc.disable()  # a sixth of the time; twenty seeds leave ten megabytes
    happened: Counter[str] = Counter()
    violations: list[str] = []
    with storage(database) as kept:
        unreliable = UnreliableDynamoDB(kept)
        unreliable.attach()
        tables.create_tables()
        for seed in seeds:
            unreliable.calm()
            with (
                seeded(seed),
                tempfile.TemporaryDirectory(dir=SHARED if SHARED.is_dir() else None) as folder,
            ):
                try:
                    faults = simulate(seed, unreliable, Path(folder), focus)
                    happened += faults.happened
                    if diaries:
                        print(faults.diary(f"seed {seed} ends"))
                except Violation as violation:
                    violations.append(str(violation))
    gc.collect()
    return happened, violations


def _chunks(first: int, seeds: int) -> Iterator[range]:
    for start in range(first, first + seeds, CHUNK):
        yield range(start, min(start + CHUNK, first + seeds))


@click.command(help=__doc__)
@click.option("--seeds", default=200, show_default=True)
@click.option("--first", default=0, show_default=True)
@click.option("--jobs", default=os.cpu_count() or 1, show_default="one a core")
@click.option("--diary", is_flag=True, help="Print the diary of every seed, not only of those with a violation.")
@click.option("--plot", type=click.Choice(PLOTS), help="The catastrophe of every seed, rather than one by chance.")
@click.option("--storm", type=click.Choice(STORMS), help="What strikes often in every seed, rather than by chance.")
@click.option(
    "--database", type=click.Choice(DATABASES), default=MEMORY, show_default=True, help="Where items are kept."
)
@click.option("--most", default=5, show_default=True, help="Violations after which no more seeds are begun.")
def main(
    seeds: int, first: int, jobs: int, diary: bool, plot: str | None, storm: str | None, database: str, most: int
) -> None:
    focus = Focus(plot, storm)
    happened: Counter[str] = Counter()
    violations: list[str] = []
    chunks = list(_chunks(first, seeds))
    done = 0
    with ProcessPoolExecutor(jobs) as pool:
        results = zip(
            chunks, pool.map(partial(simulate_all, diaries=diary, focus=focus, database=database), chunks), strict=True
        )
        console = Console(stderr=True)
        for chunk, (more, found) in track(results, "Simulating", len(chunks), console=console, transient=True):
            happened += more
            violations += found
            done += len(chunk)
            if len(violations) >= most:
                pool.shutdown(cancel_futures=True)
                break
    for violation in itertools.islice(violations, most):
        print(violation, file=sys.stderr)
    for what, count in sorted(happened.items()):
        print(f"{count:10,d} {what}")
    rare = too_rare(happened, done) if focus == NO_FOCUS and database == MEMORY else []
    for line in rare:
        print(f"too rare to prove anything: {line}", file=sys.stderr)
    print(f"{done:,d} seeds, {len(violations)} violations")
    sys.exit(1 if violations or rare else 0)


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of a set is chance too, and a seed is to be replayed to the letter.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    main()
