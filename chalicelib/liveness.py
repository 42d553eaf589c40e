"""The sweep of each minute: it records what silence means. Whether a worker is online is derived, never stored.

    silent for the window ──► an event; ephemeral workers go after 15 minutes
    silent for 24 hours ────► its deployments are WORKER_LOST

If more than half of a fleet of three or more falls silent in one sweep, the fault is likelier ours: then nothing is
recorded for 5 minutes. A sweep that was cut off is completed by the next.
"""

from __future__ import annotations

from collections.abc import Iterator

from chalicelib import claims, deployments, events, fleet, slots, workers
from chalicelib.store import find, update_if
from chalicelib.tables import Brake, Hot

LOST_AFTER = 86400.0
EPHEMERAL_AFTER = 900.0
BRAKE_FOR = 300.0
FLEET = 3


def expire(now: float) -> None:
    """Record the consequences of silence at `now`, then try again to place what waits."""
    silent, fleet_size = [], 0
    for hot in _scan():
        up = hot.down_since is None
        fleet_size += up
        if not fleet.is_online(hot, now):
            silent.append(hot)
    fresh = [hot for hot in silent if hot.down_since is None and hot.status != "offline"]
    if not _braked(len(fresh), fleet_size, now):
        for hot in silent:
            _record(hot, now)
    claims.place_waiting(now)


def _scan(segments: int = 1) -> Iterator[Hot]:
    for segment in range(segments):
        condition = (Hot.part == "hot") & Hot.gone.does_not_exist()
        yield from Hot.scan(condition, segment=segment, total_segments=segments)


def _braked(fresh: int, fleet_size: int, now: float) -> bool:
    """Whether too much fell silent at once; the brake holds for 5 minutes and then lets go, whatever is found."""
    brake = find(Brake, "sweep", "brake")
    massive = fleet_size >= FLEET and fresh * 2 > fleet_size
    if not massive:
        if brake:
            brake.delete()
        return False
    if brake is None:
        Brake("sweep", part="brake", until=now + BRAKE_FOR).save()
        return True
    return bool(now < brake.until)


def _record(hot: Hot, now: float) -> None:
    """Each step only if the worker was not heard of since it was read."""
    worker_id, silence = str(hot.worker_id), now - float(hot.last_seen)
    unheard = (Hot.last_seen == hot.last_seen) & Hot.gone.does_not_exist()
    if hot.down_since is None:
        if not update_if(hot, [Hot.down_since.set(now)], unheard):
            return
        why = "said goodbye" if hot.status == "offline" else f"silent for {int(silence)} s"
        events.record(events.About(worker_id=worker_id), "offline", why, events.CONTROL_PLANE, now)
    if silence > EPHEMERAL_AFTER and workers.forget_ephemeral(worker_id, now):
        return
    if silence > LOST_AFTER and not hot.lost:
        message = "its worker has been silent for 24 hours"
        for slot in slots.of_worker(worker_id)[0]:
            deployments.lose(slot.deployment_id, "WORKER_LOST", message, now)
        if update_if(hot, [Hot.lost.set(True)], unheard):
            events.record(events.About(worker_id=worker_id), "lost", "silent for 24 hours", events.CONTROL_PLANE, now)
