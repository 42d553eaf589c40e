"""A run resumes where it was, and its score is a row of the table."""

from pathlib import Path

import pytest

from tests.fixtures import ROOT
from tests.mutation.mutations import mutations
from tests.mutation.scores import HEAD, REASONS, Findings, Score, reasons, recorded

MODULE, TESTS = "agent/muster_agent/runner/plan.py", "tests/agent/runner/test_plan.py"


def test_findings_are_kept_while_module_and_tests_are_the_same(tmp_path: Path) -> None:
    Findings.of(MODULE, TESTS, tmp_path).note("a -> b", True)
    assert Findings.of(MODULE, TESTS, tmp_path).survived == {"a -> b": True}
    assert Findings.of(MODULE, "tests/agent/control/test_client.py", tmp_path).survived == {}, "other tests find anew"


def test_a_score_takes_the_place_of_the_earlier_one_and_nothing_else_changes() -> None:
    page = f"# A\n\n{HEAD}| `b.py` | 10 | 9 | 90.0 % | 0 |\n\nText.\n"
    page = recorded(page, Score("a.py", 1000, 900, 2))
    page = recorded(page, Score("b.py", 10, 10, 0))
    rows = "| `a.py` | 1,000 | 900 | 90.0 % | 2 |\n| `b.py` | 10 | 10 | 100.0 % | 0 |\n"
    assert page == f"# A\n\n{HEAD}{rows}\nText.\n"


def test_a_page_without_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no table"):
        recorded("# A\n", Score("a.py", 1, 1, 0))


def test_each_reason_is_of_a_mutation_that_exists() -> None:
    modules = [line.strip('[]"') for line in REASONS.read_text().splitlines() if line.startswith("[")]
    for module in modules:
        keys = {each.key for each in mutations((ROOT / module).read_text())}
        assert reasons(module).keys() <= keys, module
