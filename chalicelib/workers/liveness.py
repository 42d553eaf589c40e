"""The sweep of each minute: it records what silence means. Whether a worker is online is derived, never stored.

    silent for the window ──► an event; ephemeral workers go after 15 minutes
    silent for 24 hours ────► its deployments are WORKER_LOST

If more than half of a fleet of three or more falls silent in one sweep, the fault is likelier ours: then nothing is
recorded for 5 minutes. A sweep that was cut off is completed by the next.

The table is read whole, in segments side by side; the database filters, so that only the silent cost time here. What it
reads is paid for all the same (docs/adr/0012).
"""

from __future__ import annotations

from chalicelib.deployments import losses
from chalicelib.fleet import capacity, workers
from chalicelib.scheduling import scheduler
from chalicelib.store import events, slots
from chalicelib.store.items import find, side_by_side, update_if
from chalicelib.store.tables import Brake, WorkerHeartbeat
from chalicelib.workers import admin
from muster.api.structs import Value

LOST_AFTER_SECONDS = 86400.0
EPHEMERAL_AFTER_SECONDS = 900.0
BRAKE_SECONDS = 300.0
BRAKE_MIN_WORKERS = 3
SWEEP_SEGMENTS = 8
"""Of the table, and threads: what both reading and recording wait for is the database."""
SWEEP_ATTRIBUTES = (
    WorkerHeartbeat.worker_id,
    WorkerHeartbeat.last_seen,
    WorkerHeartbeat.status,
    WorkerHeartbeat.interval,
    WorkerHeartbeat.down_since,
    WorkerHeartbeat.lost,
    WorkerHeartbeat.ephemeral,
    WorkerHeartbeat.gone,
)


def expire(now: float, segments: int = SWEEP_SEGMENTS) -> None:
    """Record the consequences of silence at `now`, then try again to place what waits. One segment takes no thread."""
    read = side_by_side(lambda segment: _read(segment, segments, now), range(segments), segments)
    silent = [heartbeat for part in read for heartbeat in part.silent]
    fresh = [heartbeat for heartbeat in silent if heartbeat.down_since is None and heartbeat.status != "offline"]
    if not _braked(len(fresh), sum(part.up for part in read), now):
        side_by_side(lambda heartbeat: _record(heartbeat, now), silent, segments)
    scheduler.sweep(now)


def clock_was_put_back(now: float) -> None:
    """Take workers with a heartbeat from the future as heard of just now: silence is counted from here on.

    Live ones are heard of within seconds. Without this a dead one would count as online until the clock is there again.
    """
    for heartbeat in WorkerHeartbeat.scan(
        (WorkerHeartbeat.last_seen > now + workers.MAX_CLOCK_SKEW_SECONDS) & WorkerHeartbeat.gone.does_not_exist()
    ):
        update_if(
            heartbeat,
            [WorkerHeartbeat.last_seen.set(now)],
            (WorkerHeartbeat.last_seen == heartbeat.last_seen) & WorkerHeartbeat.gone.does_not_exist(),
        )


class _Part(Value, frozen=True):
    """Of one segment: how many workers were not recorded as down, and those that are silent."""

    up: int
    silent: list[WorkerHeartbeat]


def _read(segment: int, segments: int, now: float) -> _Part:
    """Of those that are well the database tells only how many it passed over."""
    silent = (WorkerHeartbeat.last_seen < now - workers.ONLINE_WINDOW) | (WorkerHeartbeat.status == "offline")
    not_up = WorkerHeartbeat.down_since.exists() | WorkerHeartbeat.gone.exists()
    names = [attribute.attr_name for attribute in SWEEP_ATTRIBUTES]
    scan = WorkerHeartbeat.scan(silent | not_up, segment=segment, total_segments=segments, attributes_to_get=names)
    found = list(scan)
    down = sum(heartbeat.down_since is not None or bool(heartbeat.gone) for heartbeat in found)
    return _Part(
        up=scan.page_iter.total_scanned_count - down,
        silent=[heartbeat for heartbeat in found if not heartbeat.gone and not workers.is_online(heartbeat, now)],
    )


def _braked(fresh: int, fleet_size: int, now: float) -> bool:
    """Whether too much fell silent at once; the brake holds for 5 minutes and then lets go, whatever is found."""
    brake = find(Brake, "sweep", "brake")
    massive = fleet_size >= BRAKE_MIN_WORKERS and fresh * 2 > fleet_size
    if not massive:
        if brake:
            brake.delete()
        return False
    if brake is None:
        Brake("sweep", part="brake", until=now + BRAKE_SECONDS).save()
        return True
    if brake.until > now + BRAKE_SECONDS:  # the clock was put back
        brake.update(actions=[Brake.until.set(now + BRAKE_SECONDS)])
    return bool(now < brake.until)


def _record(heartbeat: WorkerHeartbeat, now: float) -> None:
    """Each step only if the worker was not heard of since it was read."""
    worker_id, silence = str(heartbeat.worker_id), max(0.0, now - float(heartbeat.last_seen))
    unheard = (WorkerHeartbeat.last_seen == heartbeat.last_seen) & WorkerHeartbeat.gone.does_not_exist()
    if heartbeat.down_since is None:
        not_recorded = unheard & WorkerHeartbeat.down_since.does_not_exist()
        if not capacity.follow(worker_id, [WorkerHeartbeat.down_since.set(now)], not_recorded, down=True):
            return
        why = "said goodbye" if heartbeat.status == "offline" else f"silent for {int(silence)} s"
        events.record(events.About(worker_id=worker_id), "offline", why, events.CONTROL_PLANE, now)
    if silence > EPHEMERAL_AFTER_SECONDS and heartbeat.ephemeral:
        admin.forget(heartbeat, now)
        return
    if silence > LOST_AFTER_SECONDS and not heartbeat.lost:
        loss = losses.Loss(worker_id, "WORKER_LOST", "its worker has been silent for 24 hours")
        for slot in slots.of_worker(worker_id)[0]:
            losses.mark_lost(slot.deployment_id, loss, now, silent_since=float(heartbeat.last_seen))
        if update_if(heartbeat, [WorkerHeartbeat.lost.set(True)], unheard & WorkerHeartbeat.lost.does_not_exist()):
            events.record(events.About(worker_id=worker_id), "lost", "silent for 24 hours", events.CONTROL_PLANE, now)
