"""Without a protection, the simulator finds a violation, or a test fails: of one in every run, of all with --thorough.

Each must still find the protection that it takes away.
"""

from __future__ import annotations

import pytest

from tests.fixtures import ROOT
from tests.simulation.mutants import MUTANTS, Mutant, examine_all


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda each: each.name)
def test_what_it_takes_away_is_there_once(mutant: Mutant) -> None:
    for patch in mutant.patches:
        assert (ROOT / patch.path).read_text().count(patch.text) == 1, patch


def test_they_are_caught(thorough: bool) -> None:
    """That nothing is found in the code as it is, is test_simulation.py's."""
    verdicts = list(examine_all(MUTANTS if thorough else MUTANTS[1:2]))
    assert [f"{each.mutant.name}: not in {each.after}" for each in verdicts if each.said is None] == []
