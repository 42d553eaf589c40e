"""The sweep of each minute: it records what silence means. Whether a worker is online is derived, never stored.

    silent for the window ──► an event; ephemeral workers go after 15 minutes
    silent for 24 hours ────► its deployments are WORKER_LOST

If more than half of a fleet of three or more falls silent in one sweep, the fault is likelier ours: then nothing is
recorded for 5 minutes. A sweep that was cut off is completed by the next.

The table is read whole, in segments side by side; the database filters, so that only the silent cost time here. What it
reads is paid for all the same (docs/adr/0012).
"""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.deployments import losses
from chalicelib.fleet import workers
from chalicelib.scheduling import scheduler
from chalicelib.store import events, slots
from chalicelib.store.items import find, side_by_side, update_if
from chalicelib.store.tables import Brake, Hot
from chalicelib.workers import admin

LOST_AFTER = 86400.0
EPHEMERAL_AFTER = 900.0
BRAKE_FOR = 300.0
FLEET = 3
SEGMENTS = 8
"""Of the table, and threads: what both reading and recording wait for is the database."""
READ = (Hot.worker_id, Hot.last_seen, Hot.status, Hot.interval, Hot.down_since, Hot.lost, Hot.ephemeral, Hot.gone)


def expire(now: float, segments: int = SEGMENTS) -> None:
    """Record the consequences of silence at `now`, then try again to place what waits. One segment takes no thread."""
    read = side_by_side(lambda segment: _read(segment, segments, now), range(segments), segments)
    silent = [hot for part in read for hot in part.silent]
    fresh = [hot for hot in silent if hot.down_since is None and hot.status != "offline"]
    if not _braked(len(fresh), sum(part.up for part in read), now):
        side_by_side(lambda hot: _record(hot, now), silent, segments)
    scheduler.place_waiting(now)


def clock_was_put_back(now: float) -> None:
    """Take workers with a heartbeat from the future as heard of just now: silence is counted from here on.

    Live ones are heard of within seconds. Without this a dead one would count as online until the clock is there again.
    """
    for hot in Hot.scan((Hot.last_seen > now + workers.CLOCKS_DIFFER) & Hot.gone.does_not_exist()):
        update_if(hot, [Hot.last_seen.set(now)], (Hot.last_seen == hot.last_seen) & Hot.gone.does_not_exist())


@dataclass
class _Part:
    """Of one segment: how many workers were not recorded as down, and those that are silent."""

    up: int
    silent: list[Hot]


def _read(segment: int, segments: int, now: float) -> _Part:
    """Of those that are well the database tells only how many it passed over."""
    silent = (Hot.last_seen < now - workers.ONLINE_WINDOW) | (Hot.status == "offline")
    not_up = Hot.down_since.exists() | Hot.gone.exists()
    names = [attribute.attr_name for attribute in READ]
    scan = Hot.scan(silent | not_up, segment=segment, total_segments=segments, attributes_to_get=names)
    found = list(scan)
    down = sum(hot.down_since is not None or bool(hot.gone) for hot in found)
    return _Part(
        up=scan.page_iter.total_scanned_count - down,
        silent=[hot for hot in found if not hot.gone and not workers.is_online(hot, now)],
    )


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
    if brake.until > now + BRAKE_FOR:  # the clock was put back
        brake.update(actions=[Brake.until.set(now + BRAKE_FOR)])
    return bool(now < brake.until)


def _record(hot: Hot, now: float) -> None:
    """Each step only if the worker was not heard of since it was read."""
    worker_id, silence = str(hot.worker_id), max(0.0, now - float(hot.last_seen))
    unheard = (Hot.last_seen == hot.last_seen) & Hot.gone.does_not_exist()
    if hot.down_since is None:
        if not update_if(hot, [Hot.down_since.set(now)], unheard & Hot.down_since.does_not_exist()):
            return
        why = "said goodbye" if hot.status == "offline" else f"silent for {int(silence)} s"
        events.record(events.About(worker_id=worker_id), "offline", why, events.CONTROL_PLANE, now)
    if silence > EPHEMERAL_AFTER and hot.ephemeral:
        admin.forget(hot, now)
        return
    if silence > LOST_AFTER and not hot.lost:
        loss = losses.Loss(worker_id, "WORKER_LOST", "its worker has been silent for 24 hours")
        for slot in slots.of_worker(worker_id)[0]:
            losses.mark_lost(slot.deployment_id, loss, now, silent_since=float(hot.last_seen))
        if update_if(hot, [Hot.lost.set(True)], unheard & Hot.lost.does_not_exist()):
            events.record(events.About(worker_id=worker_id), "lost", "silent for 24 hours", events.CONTROL_PLANE, now)
