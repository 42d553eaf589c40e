"""What finding a place costs in a large fleet, on a real DynamoDB engine; `make measure-placement WORKERS=1000`.

Calls and read units hold anywhere. Processor time is of this machine, and Lambda has 0.58 of a core at 1,024 MB.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

import tests.server.conftest  # noqa: F401  # credentials, for a database that needs none
from infra.cloud import prices
from tests.cost.bill import seconds
from tests.cost.meter import METER
from tests.cost.month import fleet
from tests.server.world import World

TIMEOUT = 29.0
"""Seconds that a request has."""


def main() -> int:
    """The exit code: 0 where each fits in a request."""
    size = int(os.environ.get("WORKERS") or 1000)
    with fleet(size) as (world, first):
        print(f"\n{size:10,} workers{'calls':>9s}{'reads':>10s}{'wall s':>9s}", end="")
        print(f"{'CPU s':>8s}{'on Lambda':>11s}{'dollars':>10s}")
        cases: tuple[tuple[str, Callable[[], object]], ...] = (
            ("for one worker", lambda: world.deploy(gpus=1, worker_id=first.id)),
            ("for any of them", lambda: world.deploy(gpus=1)),
            ("there is no room", lambda: world.deploy(gpus=9)),
            ("a sweep, one waits", lambda: _sweep(world)),
        )
        fits = [_measured(what, act) for what, act in cases]
    return 0 if all(fits) else 1


def _sweep(world: World) -> None:
    world.pass_(1)
    world.sweep()


def _measured(what: str, act: Callable[[], object]) -> bool:
    began = time.perf_counter()
    with METER.metered():
        act()
    wall, use = time.perf_counter() - began, METER.use
    figures = f"{use.calls:9,.0f}{use.reads:10,.1f}{wall:9.2f}{use.cpu:8.2f}{seconds(use):9.1f} s"
    print(f"{what:18s}{figures}{prices.READ_UNIT * use.reads:10.5f}")
    return seconds(use) < TIMEOUT


if __name__ == "__main__":
    sys.exit(main())
