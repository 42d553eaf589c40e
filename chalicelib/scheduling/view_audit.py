"""Comparing the index of free capacity with every worker, and correcting it.

Each write of this release keeps the index right. Two things remain, and a read of the whole fleet settles them: workers
that an older release wrote, and claims that outlived their slots.

    never compared                     the whole fleet decides, as in older releases; the next sweep compares
    up to SMALL_FLEET workers          the whole fleet is read whenever the index shows no place
    more                               a sweep reads it where one waits, at most once in `pause` seconds
"""

from __future__ import annotations

from chalicelib.fleet import capacity, scan, workers
from chalicelib.fleet.workers import Worker
from chalicelib.store.items import find, side_by_side
from chalicelib.store.tables import CapacityView

SMALL_FLEET = 100
"""Workers that are read for less than the search of a small index saves: some 70 read units."""
SECONDS_FOR_EACH_WORKER, MAX_PAUSE_SECONDS = 1 / 15, 600.0
"""A worker costs 0.34 units where a sweep reads it, and 0.5 where its slots are read too: at most 13 units a second on
average, up to 9,000 workers."""
MAX_CORRECTIONS = 2000
"""Of one sweep, which has 60 s; the next continues."""
THREADS, ATTEMPTS = 8, 3


def last() -> CapacityView | None:
    return find(CapacityView, CapacityView.KEY, "capacity")


def is_small(view: CapacityView) -> bool:
    """Whether reading the whole fleet costs next to nothing."""
    return int(view.workers) <= SMALL_FLEET


def pause(view: CapacityView) -> float:
    """Seconds from one read of the whole fleet to the next, while deployments wait."""
    return min(MAX_PAUSE_SECONDS, int(view.workers) * SECONDS_FOR_EACH_WORKER)


def is_due(view: CapacityView, now: float) -> bool:
    """Whether a sweep may read the whole fleet again; also if the clock was put back since it was read."""
    return is_small(view) or not 0 <= now - float(view.compared_at) < pause(view)


def compare(now: float) -> dict[str, Worker]:
    """Read the whole fleet, correct what the index has of it, and return the fleet as it was read.

    Recorded once all is right: until the first record no placement relies on the index.
    """
    fleet = scan.candidates(consistent=False)
    if _correct(fleet):
        CapacityView(CapacityView.KEY, part="capacity", compared_at=now, workers=len(fleet)).save()
    return fleet


def _correct(fleet: dict[str, Worker]) -> bool:
    """Returns whether the index is right now. A worker that changed meanwhile is read again."""
    for _ in range(ATTEMPTS):
        wrong = [worker for worker in fleet.values() if not capacity.is_current(worker)]
        part = wrong[:MAX_CORRECTIONS]
        stored = side_by_side(capacity.correct, part, THREADS if len(part) > 1 else 1)
        if len(part) < len(wrong):
            return False
        changed = [worker.worker_id for worker, is_stored in zip(part, stored, strict=True) if not is_stored]
        if not changed:
            return True
        fleet = workers.several(changed)
    return False
