"""The figure of heartbeats, with its floors alone: they start at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.figure import Figure, Scale, measure
from bench.figures import heartbeats
from bench.load import Plan
from bench.peers import Bench
from bench.servers import BareHttp
from tests.fixtures.ports import free_port

TINY = Scale(rounds=1, seconds=0.02, workers=3, quick=True)


def made(folder: Path) -> BareHttp:
    server = BareHttp(folder)
    server.port = free_port()
    return server


def test_the_floors_have_rates_latencies_and_processor_time(tmp_path: Path) -> None:
    subjects = [
        heartbeats.Responder("bare HTTP", made, tmp_path / "http", TINY),
        heartbeats.SyncedUpdates(tmp_path, TINY),
    ]
    figure = Figure("floors", "Floors", "", ["2"], heartbeats.METRICS, subjects)
    samples = measure(figure, 1, lambda text: None).samples
    assert samples.get("2", "bare HTTP", "rate")[0] > 0 and samples.get("2", "bare HTTP", "errors") == [0]
    assert samples.get("2", "bare SQLite", "rate")[0] > 0 and samples.get("2", "bare SQLite", "p99") == []


def test_all_servers_and_both_floors_are_measured_beside_each_other(tmp_path: Path) -> None:
    figure = heartbeats.figure(Bench(tmp_path, TINY))
    names = [subject.name for subject in figure.subjects]
    assert names == ["Muster", "FastAPI", "LMStack", "LMStack, 1 process", "bare HTTP", "bare SQLite"]
    assert figure.cases == ["8", "32", "100"]
    assert {comparison.that for comparison in figure.comparisons} <= set(names)


def test_another_commit_takes_the_place_of_the_peers(tmp_path: Path) -> None:
    figure = heartbeats.figure(Bench(tmp_path, TINY, reference=tmp_path, reference_name="abc123"))
    assert [subject.name for subject in figure.subjects] == ["Muster", "abc123", "bare HTTP", "bare SQLite"]


def test_a_load_generator_that_fails_shows_why() -> None:
    with pytest.raises(RuntimeError, match="the load generator failed"):
        heartbeats.run_load(Plan(free_port(), 1, 0.0, ["GET / HTTP/1.1\r\n\r\n"]))
