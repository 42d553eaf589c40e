"""Without a protection, the simulator finds a violation: with --thorough for each but the weak, which `make mutants` has.

Without --thorough only that each mutant still finds the protection that it takes away.
"""

from __future__ import annotations

import pytest

from tests.docs.markdown import ROOT
from tests.simulation.mutants import MUTANTS, Mutant, examine


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda each: each.name)
def test_what_it_takes_away_is_there_once(mutant: Mutant) -> None:
    for patch in mutant.patches:
        assert (ROOT / patch.path).read_text().count(patch.text) == 1, patch


@pytest.mark.parametrize("mutant", [each for each in MUTANTS if not each.weak], ids=lambda each: each.name)
def test_it_is_caught(mutant: Mutant, thorough: bool) -> None:
    if not thorough:
        pytest.skip("a mutant is simulated with --thorough alone")
    verdict = examine(mutant)
    assert verdict.said, f"not in {verdict.after} seeds: {mutant.protection}"
