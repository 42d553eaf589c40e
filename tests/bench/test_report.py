"""Tables, ratios, and the parts of docs/benchmarks.md."""

from __future__ import annotations

import pytest

from bench import report
from bench.figure import Comparison, Figure, Metric, Outcome
from bench.samples import Samples

FIGURE = Figure(
    name="rates",
    title="Rates",
    text="What is measured.",
    cases=["8"],
    metrics=[Metric("rate", "beats/s", "more", 0), Metric("p99", "ms"), Metric("memory", "MiB")],
    subjects=[],
    comparisons=[Comparison("rate", "Muster", "floor"), Comparison("rate", "Muster", "absent")],
)


@pytest.fixture
def samples() -> Samples:
    made = Samples()
    for rate in (1000.0, 2000.0, 3000.0):
        made.add("8", "Muster", {"rate": rate, "p99": 2.5})
        made.add("8", "floor", {"rate": 2 * rate})
    return made


def test_a_cell_is_the_median_with_the_quartiles(samples: Samples) -> None:
    head, muster, floor = report.table(FIGURE, samples)
    assert head == ["", "", "beats/s", "p99, ms"], "memory was not measured"
    assert muster == ["8", "Muster", "2,000 (1,500 to 2,500)", "2.5"]
    assert floor == ["8", "floor", "4,000 (3,000 to 5,000)", "-"]


def test_a_ratio_has_its_spread_and_an_absent_peer_has_none(samples: Samples) -> None:
    assert report.ratio_rows(FIGURE, samples)[1:] == [["8", "beats/s", "floor", "0.50", "0.50", "0.50"]]


@pytest.mark.parametrize(("value", "shown"), [(12.3456, "12.35"), (0.5, "0.50"), (0.0234, "0.023"), (0.0, "0")])
def test_a_small_ratio_keeps_two_digits(value: float, shown: str) -> None:
    assert report.significant(value) == shown


def test_columns_are_aligned_in_a_terminal() -> None:
    assert report.aligned([["a", "long"], ["wide", "b"]]) == "a     long\nwide  b"


def test_the_terminal_shows_what_was_not_measured(samples: Samples) -> None:
    text = report.terminal(Outcome(FIGURE, samples, {"LMStack": "LMSTACK names no checkout"}))
    assert "LMStack: not measured: LMSTACK names no checkout" in text and "0.50" in text


def test_a_part_of_the_page_has_machine_command_time_and_plot(samples: Samples) -> None:
    outcome = Outcome(FIGURE, samples, {"LMStack": "no checkout"})
    text = report.section(outcome, [("processor", "two cores"), ("peers", "")], "2026-01-01 10:00 UTC", "images/r.svg")
    assert "| 8 | Muster | 2,000 (1,500 to 2,500) | 2.5 |" in text and "![Rates](images/r.svg)" in text
    assert "2026-01-01 10:00 UTC, 3 rounds, by `make bench ONLY=rates`. processor: two cores." in text
    assert "Not measured: LMStack: no checkout." in text


def test_a_run_replaces_the_part_of_its_figure_and_no_other() -> None:
    page = report.replaced(report.replaced("# Page\n", "a", "first"), "b", "second")
    again = report.replaced(page, "a", r"a text with \1 in it")
    assert again == page.replace("first", r"a text with \1 in it") and "second" in again
    assert again.startswith("# Page\n") and again.count("<!-- figure a -->") == 1
