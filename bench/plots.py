"""Plots of figures as SVG: one group of bars for each case, with the quartiles as a line on each bar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

from bench.figure import Figure
from bench.samples import Samples, Spread, spread

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "muster"  # the same figures make the same file
COLORS = ("#2f6f4f", "#c9a227", "#a8443a", "#d98f84", "#7a8793", "#b7bfc7")


def plot(figure: Figure, samples: Samples, path: Path) -> None:
    """Write the SVG of the figure's first metric."""
    from matplotlib import pyplot

    metric = figure.metrics[0]
    cases = samples.cases()
    subjects = [subject for subject in samples.subjects() if subject not in figure.unplotted]
    drawn, axes = pyplot.subplots(figsize=(7.2, 0.5 + 0.24 * len(cases) * (len(subjects) + 1)), layout="constrained")
    for position, (case, subject) in _positions(cases, subjects):
        values = samples.get(case, subject, metric.name)
        if values:
            found, color = spread(values), COLORS[subjects.index(subject) % len(COLORS)]
            _bar(axes, position, found, color, f"{subject} {found.median:,.{metric.places}f}")
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
    """Where each bar is, with a gap between cases."""
    return [
        (at * (len(subjects) + 1) + by, (case, subject))
        for at, case in enumerate(cases)
        for by, subject in enumerate(subjects)
    ]


def _bar(axes: Any, position: int, found: Spread, color: str, text: str) -> None:
    axes.barh(position, found.median, height=0.82, color=color)
    axes.plot([found.low, found.high], [position, position], color="#22272b", linewidth=1.2)
    axes.text(max(found.high, found.median), position, f"  {text}", va="center", fontsize=8)
