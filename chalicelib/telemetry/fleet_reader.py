"""The whole fleet in memory, brought up to date by what changed since it was read (docs/adr/0040).

    heartbeats      every time, or as often as the reader asks: a unit of the database is what 8 KiB of them weigh
    records         those that lines of the timeline name, and those that are new
    deployments     those that lines of the timeline name, and those that are under way
    all of it       every FULL_SECONDS, since a change may have no line: a function was killed between the two

The reads may be a moment old. What a line names is read as it is now, so a change is seen no later than its line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from chalicelib.fleet import conditions, scan
from chalicelib.fleet import workers as stored_workers
from chalicelib.fleet.conditions import Held
from chalicelib.fleet.workers import Worker
from chalicelib.store import events
from chalicelib.store.items import find_all
from chalicelib.store.tables import Deployment, WorkerRecord
from muster.api import resources as r
from muster.api.lifecycle import Status
from muster.api.structs import Value

FULL_SECONDS = 300.0
MAX_LINES = 500
"""Lines of the timeline between two reads; where there are more, everything is read again."""
SETTLED = (Status.RUNNING, Status.STOPPED, Status.ERROR)


class Fleet(Value, frozen=True):
    """Everything as it was at `read_at`, and the heartbeats as they were at `heartbeats_at`, in epoch seconds.

    `held` are the conditions that each worker reports. Mappings are the same objects as long as nothing in them was
    read again.
    """

    read_at: float
    heartbeats_at: float
    workers: dict[str, Worker]
    deployments: dict[str, Deployment]
    held: dict[str, list[Held]]


class _Known(Value, frozen=True):
    """What was read, when all of it was read, and up to where the timeline was followed."""

    fleet: Fleet
    all_at: float
    cursor: str


class FleetReader:
    """Reads for one process. Not for two threads at once."""

    def __init__(self) -> None:
        self._known: _Known | None = None

    def forget(self) -> None:
        """Read everything the next time."""
        self._known = None

    def read(self, now: float, heartbeats_for: float = 0.0) -> Fleet:
        """The fleet as of now; heartbeats that no line names may be `heartbeats_for` seconds old.

        What was known stays known if the database cannot be reached.
        """
        known = self._known
        is_recent = known is not None and 0 <= now - known.all_at < FULL_SECONDS
        after = _following(known, now, heartbeats_for) if known and is_recent else None
        self._known = after or _everything(now)
        return self._known.fleet


def _everything(now: float) -> _Known:
    """The timeline's end is taken first: what changes during the scans is read again."""
    cursor = events.timeline(events.SHARDS, r.EventsQuery(limit=1), now).cursor or ""
    workers = _by_name(scan.shown_workers())
    deployments = _ordered({str(deployment.deployment_id): deployment for deployment in scan.deployments()})
    return _Known(Fleet(now, now, workers, deployments, conditions.of(workers.values())), now, cursor)


def _following(known: _Known, now: float, heartbeats_for: float) -> _Known | None:
    """What is known with what changed since; None where that is too much to follow."""
    before = known.fleet
    lines = events.timeline(events.SHARDS, r.EventsQuery(limit=MAX_LINES, after=known.cursor), now)
    if len(lines.events) == MAX_LINES:
        return None
    named = {line.worker_id for line in lines.events if line.worker_id}
    if 0 <= now - before.heartbeats_at < heartbeats_for:
        workers, heartbeats_at = _renewed(before.workers, named), before.heartbeats_at
    else:
        workers, heartbeats_at = _workers(before.workers, named), now
    deployments = _deployments(before.deployments, {line.deployment_id for line in lines.events})
    held = before.held if workers is before.workers else _held(before, workers, named)
    fleet = Fleet(now, heartbeats_at, workers, deployments, held)
    return _Known(fleet, known.all_at, lines.cursor or known.cursor)


def _renewed(before: dict[str, Worker], named: set[str]) -> dict[str, Worker]:
    """With those that lines name as they are now, and the others as they were."""
    if not named:
        return before
    kept = {i: worker for i, worker in before.items() if i not in named}
    return _by_name(kept | stored_workers.several(sorted(named)))


def _workers(before: Mapping[str, Worker], named: set[str]) -> dict[str, Worker]:
    heartbeats = scan.shown_heartbeats()
    wanted = [worker_id for worker_id in heartbeats if worker_id in named or worker_id not in before]
    records = {str(record.worker_id): record for record in find_all(WorkerRecord, [(i, "cold") for i in wanted])}
    read = {worker_id: Worker(record, heartbeats[worker_id]) for worker_id, record in records.items()}
    kept = {i: before[i].at(heartbeat) for i, heartbeat in heartbeats.items() if i in before and i not in named}
    return _by_name(kept | read)


def _by_name(workers: Mapping[str, Worker]) -> dict[str, Worker]:
    """In the order of lists, so that what is made of them is the same again."""
    return dict(sorted(workers.items(), key=lambda item: str(item[1].record.name)))


def _deployments(before: dict[str, Deployment], named: Iterable[str | None]) -> dict[str, Deployment]:
    wanted = {i for i in named if i} | {i for i, deployment in before.items() if _is_under_way(deployment)}
    if not wanted:
        return before
    read = {str(deployment.deployment_id): deployment for deployment in find_all(Deployment, sorted(wanted))}
    return _ordered({i: deployment for i, deployment in before.items() if i not in wanted} | read)


def _ordered(deployments: Mapping[str, Deployment]) -> dict[str, Deployment]:
    """In the order in which they were made; those of one moment by id."""
    return dict(sorted(deployments.items(), key=lambda item: (str(item[1].rank), item[0])))


def _is_under_way(deployment: Deployment) -> bool:
    """Whether it changes without a line: its progress and its crash loop have none."""
    return deployment.status not in SETTLED or deployment.crash_loop is not None


def _held(before: Fleet, workers: Mapping[str, Worker], named: set[str]) -> dict[str, list[Held]]:
    """The conditions are read of workers that report others than before, and of those that a line names."""
    changed = [
        worker
        for worker_id, worker in workers.items()
        if worker_id in named or worker_id not in before.held or _bits(worker) != _bits(before.workers[worker_id])
    ]
    return {i: before.held[i] for i in workers if i in before.held} | conditions.of(changed)


def _bits(worker: Worker) -> bytes:
    return bytes(worker.heartbeat.conditions or b"")
