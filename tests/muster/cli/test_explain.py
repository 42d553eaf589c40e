"""muster explain: a code's section of docs/troubleshooting.md, with no control plane near."""

from __future__ import annotations

import re

import pytest

from chalicelib.contract.conditions import ConditionType
from muster.cli.explain import Explained, conditions, page, sections
from tests.fixtures.operators import Operators


def test_a_code_is_explained_by_its_section_however_it_is_written(operators: Operators) -> None:
    section = sections(page())["CUDA_OUT_OF_MEMORY"]
    assert "gpu_memory_utilization" in section
    operators.app.asked.clear()
    for code in ("CUDA_OUT_OF_MEMORY", "cuda_out_of_memory", "[CUDA_OUT_OF_MEMORY]"):
        assert operators.out(f"explain {code}") == f"{section}\n"
    assert operators.json("explain cuda_out_of_memory", Explained) == Explained("CUDA_OUT_OF_MEMORY", section)
    assert operators.app.asked == []


@pytest.mark.parametrize("type_", list(ConditionType))
def test_a_condition_is_explained_by_its_section_however_it_is_written(operators: Operators, type_: str) -> None:
    section = conditions(page())[type_]
    for typed in (type_, type_.upper(), type_.lower()):
        assert operators.out(f"explain {typed}") == f"{section}\n"
    assert operators.json(f"explain {type_}", Explained) == Explained(type_, section)


@pytest.mark.parametrize("code", ["NO_SUCH_CODE", "A" * 100])
def test_an_unknown_code_is_not_guessed_at(operators: Operators, code: str) -> None:
    said = operators.out(f"explain '{code}'", 3)
    assert said == f"Error: nothing is known of {code[:64]}: not a code of Muster's\n"


def test_the_examples_of_its_help_are_codes(operators: Operators) -> None:
    examples = re.findall(r"^  muster (explain \S+)$", operators.out("explain --help"), re.M)
    assert len(examples) == 2
    for line in examples:
        assert len(operators.out(line)) > 40


def test_a_section_is_shown_without_fences_and_targets_of_links() -> None:
    page = "# Title\n\n## CODE\n\nSee [the page](x.md).\n\n```sh\nmuster ps\n```\n\n## Words\n\nno\n"
    assert sections(page) == {"CODE": "See the page.\n\n    muster ps"}
