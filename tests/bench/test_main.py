"""The options of `make bench`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from bench import __main__ as program
from bench.figure import QUICK, Comparison, Figure, Metric, Subject
from bench.peers import Bench
from tests.fixtures import ROOT


def test_figures_are_chosen_by_name() -> None:
    options = program.parser().parse_args(["run", "--quick", "--only", "lists", "starts", "--lmstack", "x"])
    assert options.only == ["lists", "starts"] and options.quick and str(options.lmstack) == "x"


def test_a_comparison_names_its_commit() -> None:
    options = program.parser().parse_args(["compare", "--only", "lists", "--", "HEAD~1"])
    assert (options.reference, options.only) == ("HEAD~1", ["lists"])


def test_an_unknown_figure_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program.parser().parse_args(["run", "--only", "speed"])
    assert ended.value.code == 2 and "heartbeats" in capsys.readouterr().err


def test_a_comparison_shows_every_metric() -> None:
    figure = Figure("f", "F", "", ["8"], [Metric("rate", "1/s"), Metric("p99", "ms")], [])
    assert program.changes(figure, "abc123") == [
        Comparison("rate", "Muster", "abc123"),
        Comparison("p99", "Muster", "abc123"),
    ]


def test_a_figure_that_fails_leaves_the_others_to_be_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Measured(Subject):
        def __init__(self, name: str) -> None:
            self.name = name

        def measure(self, case: str) -> dict[str, float]:
            if self.name == "broken":
                raise RuntimeError("the load generator failed")
            return {"rate": 1.0}

    def make(bench: Bench, name: str) -> Figure:
        return Figure(name, name, "", ["8"], [Metric("rate", "1/s")], [Measured(name)])

    for name in ("broken", "good"):
        monkeypatch.setitem(program.FIGURES, name, partial(make, name=name))
    outcomes = program.measured(Bench(tmp_path, QUICK), ["broken", "good"])
    assert [outcome.figure.name for outcome in outcomes] == ["good"]
    assert "broken failed: the load generator failed" in capsys.readouterr().out


def test_the_makefile_has_the_options() -> None:
    text = (ROOT / "Makefile").read_text()
    assert "-m bench run $(if $(QUICK),--quick)" in text and "-m bench compare" in text
