"""The report: a table and the ratios of each figure, in the terminal and in docs/benchmarks.md.

The page has a part for each figure, between two comments. A run replaces the parts of the figures that it measured.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from bench.figure import Comparison, Figure, Metric, Outcome
from bench.samples import Samples, Spread, ratios, spread

NOTHING = "-"


def number(value: float, places: int) -> str:
    return f"{value:,.{places}f}"


def cell(values: Sequence[float], metric: Metric) -> str:
    """The median, and the quartiles in parentheses where they differ from it; a dash of nothing."""
    if not values:
        return NOTHING
    found = spread(values)
    low, median, high = (number(value, metric.places) for value in (found.low, found.median, found.high))
    return median if low == high else f"{median} ({low} to {high})"


def shown(figure: Figure, samples: Samples) -> list[Metric]:
    """The metrics that anything was measured for."""
    subjects, cases = samples.subjects(), samples.cases()
    return [
        metric
        for metric in figure.metrics
        if any(samples.get(case, subject, metric.name) for case in cases for subject in subjects)
    ]


def table(figure: Figure, samples: Samples) -> list[list[str]]:
    """The first row names the columns."""
    metrics = shown(figure, samples)
    rows = [
        [
            "",
            "",
            *(
                metric.unit if metric.name not in ("p50", "p99") else f"{metric.name}, {metric.unit}"
                for metric in metrics
            ),
        ]
    ]
    for case in samples.cases():
        for subject in samples.subjects():
            cells = [cell(samples.get(case, subject, metric.name), metric) for metric in metrics]
            if set(cells) != {NOTHING}:
                rows.append([case, subject, *cells])
    return rows


def ratio(samples: Samples, case: str, comparison: Comparison) -> Spread | None:
    """Of the two subjects' neighboring measurements; None where there are none."""
    these = samples.get(case, comparison.this, comparison.metric)
    those = samples.get(case, comparison.that, comparison.metric)
    found = ratios(these, those)
    return spread(found) if found else None


def significant(value: float) -> str:
    """With two decimals, or where that is less than 0.1, with two digits."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def ratio_rows(figure: Figure, samples: Samples) -> list[list[str]]:
    rows = [["", "metric", "divided by", "ratio", "least", "most"]]
    units = {metric.name: metric.unit for metric in figure.metrics}
    for comparison in figure.comparisons:
        for case in samples.cases():
            found = ratio(samples, case, comparison)
            if found is not None:
                name = comparison.metric if comparison.metric in ("p50", "p99") else units[comparison.metric]
                values = [significant(value) for value in (found.median, found.least, found.most)]
                rows.append([case, name, comparison.that, *values])
    return rows


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """For a terminal."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    rule = ["---" if at < 2 else "---:" for at in range(len(head))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *body))


def terminal(outcome: Outcome) -> str:
    figure, samples = outcome.figure, outcome.samples
    parts = [figure.title, aligned(table(figure, samples))]
    found = ratio_rows(figure, samples)
    if len(found) > 1:
        parts.append(aligned(found))
    parts += [f"{name}: not measured: {reason}" for name, reason in outcome.missing.items()]
    return "\n\n".join(parts) + "\n"


def section(outcome: Outcome, machine: Sequence[tuple[str, str]], when: str, image: str) -> str:
    """A figure's part of the page. `image` is the plot's path from the page; "" where there is none."""
    figure, samples = outcome.figure, outcome.samples
    rounds = max(
        len(samples.get(case, subject, metric.name))
        for case in samples.cases()
        for subject in samples.subjects()
        for metric in figure.metrics
    )
    parts = [f"## {figure.title}", figure.text, markdown(table(figure, samples))]
    found = ratio_rows(figure, samples)
    if len(found) > 1:
        parts += [
            "Muster divided by each, in neighboring measurements (the median, the least, and the most):",
            markdown(found),
        ]
    parts += [f"Not measured: {name}: {reason}." for name, reason in outcome.missing.items()]
    if image:
        parts.append(f"![{figure.title}]({image})")
    facts = "; ".join(f"{name}: {value}" for name, value in machine if value)
    parts.append(f"Measured {when}, {rounds} rounds, by `make bench ONLY={figure.name}`. {facts}.")
    return "\n\n".join(parts)


def replaced(page: str, name: str, text: str) -> str:
    """The page with another text for the figure; a figure that the page lacks comes last."""
    begin, end = f"<!-- figure {name} -->", "<!-- end of figure -->"
    part = f"{begin}\n{text}\n{end}"
    pattern = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
    if pattern.search(page):
        return pattern.sub(lambda _: part, page, count=1)
    return f"{page.rstrip()}\n\n{part}\n"


def write(path: Path, name: str, text: str) -> None:
    path.write_text(replaced(path.read_text(), name, text))
