"""Plots of figures as SVG: one group of bars for each case, with the quartiles as a line on each bar."""

from __future__ import annotations

from pathlib import Path

import matplotlib

from bench.figure import Figure
from bench.samples import Samples, spread

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "muster"  # the same figures make the same file
COLORS = ("#2f6f4f", "#c9a227", "#a8443a", "#d98f84", "#7a8793", "#b7bfc7")


def plot(figure: Figure, samples: Samples, path: Path) -> None:
    """Write the SVG. The first metric is plotted, unless the figure names another."""
    from matplotlib import pyplot

    metric = next(m for m in figure.metrics if m.name == (figure.plot or figure.metrics[0].name))
    cases, subjects = samples.cases(), samples.subjects()
    drawn, axes = pyplot.subplots(figsize=(7.2, 0.5 + 0.24 * len(cases) * (len(subjects) + 1)), layout="constrained")
    for position, (case, subject) in _positions(cases, subjects):
        values = samples.get(case, subject, metric.name)
        if values:
            _bar(axes, position, spread(values), COLORS[subjects.index(subject) % len(COLORS)], subject, metric.places)
    axes.set_yticks([(len(subjects) + 1) * at + (len(subjects) - 1) / 2 for at in range(len(cases))], cases)
    axes.invert_yaxis()
    axes.set_xlabel(metric.unit)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.22)
    axes.set_xlim(left=0)
    drawn.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(drawn)


def _positions(cases: list[str], subjects: list[str]) -> list[tuple[int, tuple[str, str]]]:
    pairs = [
        (at * (len(subjects) + 1) + by, (case, subject))
        for at, case in enumerate(cases)
        for by, subject in enumerate(subjects)
    ]
    return pairs


def _bar(axes: object, position: int, found: object, color: str, subject: str, places: int) -> None:
    bars, value = axes, found
    bars.barh(position, value.median, height=0.82, color=color)  # type: ignore[attr-defined]
    bars.plot([value.low, value.high], [position, position], color="#22272b", linewidth=1.2)  # type: ignore[attr-defined]
    text = f"  {subject} {value.median:,.{places}f}"  # type: ignore[attr-defined]
    bars.text(value.high, position, text, va="center", fontsize=8)  # type: ignore[attr-defined]
