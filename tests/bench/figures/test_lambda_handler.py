"""The figure of the handler: what it reads from measure_lambda's output."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.figures import lambda_handler
from bench.servers import NotMeasured

OUTPUT = """\
cold import, processor ms       105.20 botocore alone  180.30 ours  ratio 1.71 (target 1.9)
idle heartbeat, processor ms      0.52 botocore alone    0.78 ours  ratio 1.50 (target 1.6)
"""


def program(folder: Path, text: str) -> Path:
    """A checkout whose measure_lambda prints the text and counts its runs."""
    module = folder / "tests" / "infra" / "cloud" / "measure_lambda.py"
    module.parent.mkdir(parents=True)
    for package in (module.parent, module.parents[1], module.parents[2]):
        (package / "__init__.py").touch()
    module.write_text(f"print({text!r}); open('runs', 'a').write('x')")
    return folder


def test_one_run_has_all_cases_of_both_subjects(tmp_path: Path) -> None:
    turns = lambda_handler.Turns(program(tmp_path, OUTPUT), Path(sys.executable), 1)
    parts = [lambda_handler.Part("botocore alone", turns, 0), lambda_handler.Part("Muster", turns, 1)]
    measured = [part.measure(case) for case in lambda_handler.CASES for part in parts]
    assert [found["cpu"] for found in measured] == [105.20, 180.30, 0.52, 0.78]
    assert measured[3]["ratio"] == 1.5 and "ratio" not in measured[2]
    assert (tmp_path / "runs").read_text() == "x"
    parts[0].measure("cold import")
    assert (tmp_path / "runs").read_text() == "xx", "another round is another run"


def test_a_run_that_fails_says_why(tmp_path: Path) -> None:
    turns = lambda_handler.Turns(program(tmp_path, "no database"), Path(sys.executable), 1)
    with pytest.raises(NotMeasured, match="no database"):
        turns.take("cold import", 0)


def test_the_line_of_the_real_program_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    from tests.infra.cloud import measure_lambda

    measure_lambda._told("cold import, processor ms", "floor", [[1.5, 2.0, 3.0]], 1.9)
    measure_lambda._told("idle heartbeat, processor ms", "floor", [[0.5, 0.25, 0.75]], 1.6)
    assert lambda_handler.parsed(capsys.readouterr().out) == {"cold import": (1.5, 3.0), "idle heartbeat": (0.5, 0.75)}
