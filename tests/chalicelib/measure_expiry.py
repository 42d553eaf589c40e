"""What a sweep over a large fleet costs, on a real DynamoDB engine; `make measure-expiry WORKERS=100000`.

Bytes and read units are DynamoDB's arithmetic over the items as they are stored, and hold anywhere. Seconds are of this
machine: the processor time is the sweep's own, the wall clock counts the engine too, which shares its cores.
"""

from __future__ import annotations

import os
import sys
import time

import tests.fixtures.credentials  # noqa: F401  # credentials, for a database that needs none
from chalicelib.store.tables import WorkerHeartbeat, WorkerRecord, WorkerReport
from chalicelib.workers import liveness
from tests.fixtures import dynoxide
from tests.fixtures.database import DATABASE
from tests.fixtures.large_fleet import Segment, copies, raw, segments, worker_with_history
from tests.fixtures.plane_world import PlaneWorld
from tests.fixtures.units import dollars_a_month, size_of

LAMBDA_CORES = 1024 / 1769
"""Lambda gives a whole core for 1,769 MB."""
MINUTE = 60.0
FEW = 100
"""One in so many falls silent, in the second of the sweeps."""


def main() -> int:
    """The exit code: 0 where a sweep fits its minute on Lambda."""
    workers = int(os.environ.get("WORKERS") or 100_000)
    with dynoxide.running() as url, DATABASE.engine_at(url) as recorder:
        world = PlaneWorld(recorder, now=time.time())
        first = worker_with_history(world)
        heartbeat = raw(WorkerHeartbeat, first.id)
        others = size_of(raw(WorkerRecord, first.id, "cold")) + size_of(raw(WorkerReport, first.id, "seen"))
        few = (workers - 1) // FEW
        copies(heartbeat, few)
        copies(heartbeat, workers - 1 - few, ls={"N": str(world.now + 100)})
        _table(segments(), others)
        print(f"\n{'':26s}{'wall s':>9s}{'CPU s':>9s}{'on Lambda':>11s}")
        fits = [_swept("all well", world)]
        world.pass_(100)
        fits.append(_swept(f"{few + 1:,} recorded as silent", world))
        world.pass_(200)
        fits.append(_swept("all silent, the brake holds", world))
    return 0 if all(fits) else 1


def _table(parts: list[Segment], others: int) -> None:
    print(f"{'segment':>9s}{'items':>10s}{'pages':>7s}{'bytes':>13s}{'read units':>12s}")
    for number, part in enumerate(parts):
        print(f"{number:9d}{part.items:10,}{part.pages:7,}{part.bytes:13,}{part.read_units:12,.1f}")
    items, size = sum(part.items for part in parts), sum(part.bytes for part in parts)
    units = sum(part.read_units for part in parts)
    print(f"{'all':>9s}{items:10,}{sum(part.pages for part in parts):7,}{size:13,}{units:12,.1f}")
    together = units * (1 + others * items / size)
    print(f"\n{size // items:,} bytes a worker; {dollars_a_month(units):,.2f} dollars a month at one sweep a minute")
    print(f"({others:,} more in other tables; in this one they would make it {dollars_a_month(together):,.2f})")


def _swept(what: str, world: PlaneWorld) -> bool:
    wall, cpu = time.perf_counter(), time.process_time()
    liveness.expire(world.now)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    on_lambda = cpu / LAMBDA_CORES
    print(f"{what:26s}{wall:9.2f}{cpu:9.2f}{on_lambda:9.1f} s")
    return on_lambda < MINUTE


if __name__ == "__main__":
    sys.exit(main())
