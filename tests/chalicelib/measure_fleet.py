"""What looking at a large fleet costs, on a real DynamoDB engine; `make measure-fleet WORKERS=1000`.

Calls, read units and bytes hold anywhere. Processor time is of this machine; Lambda has 0.58 of a core at 1,024 MB.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

import msgspec

import tests.fixtures.credentials  # noqa: F401  # credentials, for a database that needs none
from chalicelib.scheduling import view_audit
from chalicelib.telemetry import exposition, metrics
from chalicelib.workers import admin
from infra.cloud import prices
from muster.api import resources as r
from tests.cost.bill import seconds
from tests.cost.meter import METER
from tests.cost.month import fleet
from tests.fixtures.plane_world import PlaneWorld

TIMEOUT = 29.0
"""Seconds that a request has."""
MOST_BYTES = 6 * 2**20
"""Of an answer, by Lambda."""


def main() -> int:
    """The exit code: 0 where each fits in a request."""
    size = int(os.environ.get("WORKERS") or 1000)
    with fleet(size) as (world, first):
        print(f"\n{size:10,} workers{'calls':>9s}{'reads':>10s}{'CPU s':>8s}{'on Lambda':>11s}", end="")
        print(f"{'dollars':>10s}{'bytes':>13s}{'wall s':>9s}")
        cases: tuple[tuple[str, Callable[[], int]], ...] = (
            ("for one worker", lambda: len(world.deploy(gpus=1, worker_id=first.id))),
            ("first sweep", lambda: _sweep(world)),
            ("for any of them", lambda: len(world.deploy(gpus=1))),
            ("no such label", lambda: len(world.deploy(gpus=1, selector={"no": "such"}))),
            ("there is no room", lambda: len(world.deploy(gpus=9))),
            ("a sweep, two wait", lambda: _sweep(world)),
            ("after the pause", lambda: _sweep(world, view_audit.MAX_PAUSE_SECONDS)),
            ("a page of 100", lambda: _page(world)),
            ("a scrape", lambda: len(exposition.text(metrics.families(world.now)))),
        )
        fits = [_measured(what, act) for what, act in cases]
    return 0 if all(fits) else 1


def _page(world: PlaneWorld) -> int:
    return len(msgspec.json.encode(admin.list_(r.PageQuery(limit=100), world.now)))


def _sweep(world: PlaneWorld, later: float = 1.0) -> int:
    world.pass_(later)
    world.sweep()
    return 0


def _measured(what: str, act: Callable[[], int]) -> bool:
    began = time.perf_counter()
    with METER.metered():
        answered = act()
    wall, use = time.perf_counter() - began, METER.use
    print(f"{what:18s}{use.calls:9,.0f}{use.reads:10,.1f}{use.cpu:8.2f}{seconds(use):9.1f} s", end="")
    print(f"{prices.READ_UNIT * use.reads:10.5f}{answered:13,}{wall:9.2f}", flush=True)
    return seconds(use) < TIMEOUT and answered < MOST_BYTES


if __name__ == "__main__":
    sys.exit(main())
