"""The figure of the gateway, with its floors alone: they start at once."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.figure import Figure, measure
from bench.figures import gateway
from bench.gateway_stack import BareModel, BareRelay
from bench.peers import Bench
from tests.bench.figures.test_heartbeats import TINY


def test_the_floor_and_the_model_are_measured_in_every_case(tmp_path: Path) -> None:
    subjects = [
        gateway.Way("bare relay", lambda folder: BareRelay(folder, Path(sys.executable)), tmp_path / "relay", TINY),
        gateway.Way("model", BareModel, tmp_path / "model", TINY),
    ]
    whole = gateway.figure(Bench(tmp_path, TINY))
    figure = Figure("floors", "Floors", "", whole.cases, gateway.METRICS, subjects)
    samples = measure(figure, 1, lambda text: None).samples
    for case in whole.cases:
        for subject in ("bare relay", "model"):
            assert samples.get(case, subject, "errors") == [0] and samples.get(case, subject, "rate")[0] > 0
    assert samples.get(gateway.ONE, "model", "first_p50")[0] > 0


def test_muster_is_measured_beside_the_relay_and_the_model(tmp_path: Path) -> None:
    figure = gateway.figure(Bench(tmp_path, TINY))
    assert [subject.name for subject in figure.subjects] == ["Muster", "bare relay", "model"]
    assert {comparison.that for comparison in figure.comparisons} == {"bare relay"}
