"""muster explain: a code's section of docs/troubleshooting.md, with no control plane near."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from muster.api.conditions import ConditionType
from muster.api.messages import Fix
from muster.cli.explain import Ended, Explained, conditions, page, sections
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
    assert said == f"Error: {code[:64]} is not an error code or condition of Muster\n"


def test_the_examples_of_its_help_are_codes(operators: Operators) -> None:
    examples = re.findall(r"^  muster (explain .+)$", operators.out("explain --help"), re.M)
    assert len(examples) == 3
    for line in (each for each in examples if "--log" not in each):
        assert len(operators.out(line)) > 40


def test_a_log_is_read_from_a_file_or_a_pipe_without_a_control_plane(operators: Operators, tmp_path: Path) -> None:
    operators.app.asked.clear()
    log = tmp_path / "vllm.log"
    log.write_bytes(b"\xff\nValueError: LoRA rank 64 is greater than max_lora_rank 16.\n")
    said = operators.out(f"explain --log {log} --exit-code 1")
    assert said.startswith("INVALID_CONFIG: The LoRA has rank 64") and "A restart does not help." in said
    assert "The proposed fix: muster set NAME max_lora_rank=64" in said.splitlines()
    assert operators.json(f"explain --log {log}", Ended).fix == Fix({"max_lora_rank": 64})
    assert operators.app.asked == []
    log.write_bytes(b"")
    assert "SIGKILL" in operators.out(f"explain --log {log} --exit-code 137")


def test_a_code_or_a_log_is_needed_and_a_file_that_is_not_there_is_named(operators: Operators, tmp_path: Path) -> None:
    assert "give a code, or a log" in operators.out("explain", 2)
    assert "give a code, or a log" in operators.out(f"explain GpuLost --log {__file__}", 2)
    assert "none.log" in operators.out(f"explain --log {tmp_path}/none.log", 2)


def test_a_section_is_shown_without_fences_and_targets_of_links() -> None:
    page = "# Title\n\n## CODE\n\nSee [the page](x.md).\n\n```sh\nmuster ps\n```\n\n## Words\n\nno\n"
    assert sections(page) == {"CODE": "See the page.\n\n    muster ps"}
