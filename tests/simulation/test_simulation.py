"""Nothing is lost and nothing runs twice: a few hundred seeds in every run, 3,000 with --thorough.

As a process of its own, since a seed is only then replayed to the letter.
"""

from __future__ import annotations

import subprocess
import sys

from tests.fixtures import ROOT, dynoxide


def simulate(*arguments: str) -> str:
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-20_000:] + done.stdout
    return done.stdout


def test_nothing_is_lost_and_nothing_runs_twice(thorough: bool) -> None:
    seeds = 3000 if thorough else 120
    assert f"{seeds:,d} seeds, 0 violations" in simulate("--seeds", str(seeds))


def test_nothing_is_lost_either_where_another_engine_keeps_the_items() -> None:
    with dynoxide.needed():
        dynoxide.executable()
    assert "3 seeds, 0 violations" in simulate("--seeds", "3", "--jobs", "1", "--database", "dynoxide")


def test_a_seed_is_replayed_to_the_letter() -> None:
    alone = simulate("--seeds", "1", "--first", "7", "--diary")
    among_others = simulate("--seeds", "8", "--first", "0", "--jobs", "1", "--diary")
    assert len(alone.splitlines()) > 20
    assert alone.partition("from here on nothing goes wrong")[0] in among_others
