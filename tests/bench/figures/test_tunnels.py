"""The figure of idle tunnels, and of agents that come back, with few of each."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.figure import Figure, measure
from bench.figures import tunnels
from bench.figures.tunnels import Tunnels
from bench.peers import Bench
from tests.bench.figures.test_heartbeats import TINY


def test_tunnels_are_opened_and_agents_come_back(tmp_path: Path) -> None:
    bench = Bench(tmp_path, TINY, python=Path(sys.executable))
    whole = tunnels.figure(bench)
    figure = Figure("tunnels", "", "", whole.cases, whole.metrics, [Tunnels(bench, 10)])
    samples = measure(figure, 1, lambda text: None).samples
    assert samples.get(tunnels.IDLE, "Muster", "memory") != []
    back = [samples.get(tunnels.BACK, "Muster", name)[0] for name in ("back_p50", "back_p95", "back_all")]
    assert back == sorted(back)
