"""One reading of the fleet for all that watch it: the console, `muster top`, and Prometheus (docs/adr/0040).

A process reads at most once in `seconds`, whoever asks. It numbers its changes, so that a viewer who was here before
gets what changed since. Another process has other numbers: it answers in full, which costs bytes and is right as well.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import msgspec

from chalicelib.deployments import publication, views
from chalicelib.fleet import conditions
from chalicelib.fleet.conditions import Held
from chalicelib.fleet.workers import Worker
from chalicelib.store import settings
from chalicelib.store.times import when
from chalicelib.telemetry.fleet_reader import Fleet, FleetReader
from muster.api import messages as m
from muster.api import resources as r
from muster.api import usage as usage_figures

T = TypeVar("T", r.FleetWorker, r.Deployment)
MAX_GONE = 10_000
"""Ids of what is gone that are remembered. Who was last here before the others gets everything."""


class Rows(Generic[T]):
    """Rows by id, each with the number of its last change, and the numbers of those that are gone."""

    def __init__(self, is_same: Callable[[T, T], bool]) -> None:
        self._is_same: Callable[[T, T], bool] = is_same
        self._rows: dict[str, tuple[int, T]] = {}
        self._gone: dict[str, int] = {}
        self.forgotten = 0
        """The number of the last row that is gone and no more remembered."""

    def replace(self, rows: Iterable[tuple[str, T]], number: int) -> bool:
        """Take these in the place of those before; whether anything changed, which then has that number."""
        before, self._rows, changed = self._rows, {}, False
        for key, row in rows:
            was = before.pop(key, None)
            if was is not None and self._is_same(was[1], row):
                self._rows[key] = was
            else:
                self._rows[key] = number, row
                self._gone.pop(key, None)
                changed = True
        self._gone.update(dict.fromkeys(before, number))
        while len(self._gone) > MAX_GONE:
            self.forgotten = max(self.forgotten, self._gone.pop(next(iter(self._gone))))
        return changed or bool(before)

    def all(self) -> list[T]:
        return [row for _, row in self._rows.values()]

    def since(self, number: int) -> list[T]:
        """The rows that changed after that number."""
        return [row for changed, row in self._rows.values() if changed > number]

    def gone_since(self, number: int) -> list[str]:
        return [key for key, changed in self._gone.items() if changed > number]


class Snapshot:
    """The fleet as all viewers of one process see it. Safe for several threads."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._reader = FleetReader()
        self.forget()

    def forget(self) -> None:
        """Begin anew: tokens given so far are worth nothing."""
        self._reader.forget()
        self._process, self._number = secrets.token_hex(6), 0
        self._fleet: Fleet | None = None
        self._rows_of: Fleet | None = None
        self._workers = Rows[r.FleetWorker](_is_same_worker)
        self._deployments = Rows[r.Deployment](_is_same_deployment)

    def fleet(self, now: float, heartbeats_for: float = 0.0, *, fresh: bool = False) -> Fleet:
        """The fleet, read less than `seconds` ago, or now if it is to be `fresh`.

        Heartbeats that no line names may be `heartbeats_for` seconds old. What follows from heartbeats should be as of
        its `heartbeats_at`.
        """
        with self._lock:
            return self._read(now, fresh, heartbeats_for)

    def since(self, query: r.FleetQuery, now: float) -> tuple[r.Fleet, float]:
        """What changed since the query's token, or everything; and how many seconds old that is."""
        with self._lock:
            fleet = self._read(now, query.fresh)
            if self._rows_of is not fleet:
                self._take(fleet)
            return self._answer(self._number_of(query.since)), now - fleet.read_at

    def _read(self, now: float, fresh: bool, heartbeats_for: float = 0.0) -> Fleet:
        fleet = self._fleet
        if fleet is None or fresh or not self._is_recent(fleet, now, heartbeats_for):
            fleet = self._fleet = self._reader.read(now, heartbeats_for)
        return fleet

    def _is_recent(self, fleet: Fleet, now: float, heartbeats_for: float) -> bool:
        is_read = 0 <= now - fleet.read_at < self._seconds
        return is_read and 0 <= now - fleet.heartbeats_at < max(self._seconds, heartbeats_for)

    def _take(self, fleet: Fleet) -> None:
        number = self._number + 1
        changed = [
            self._workers.replace(_worker_rows(fleet), number),
            self._deployments.replace(_deployment_rows(fleet), number),
        ]
        self._number += any(changed)
        self._rows_of = fleet

    def _number_of(self, token: str | None) -> int | None:
        """The number of a token that this process gave and still knows what follows."""
        process, _, number = (token or "").partition(".")
        if process != self._process or not number.isdecimal():
            return None
        forgotten = max(self._workers.forgotten, self._deployments.forgotten)
        return int(number) if forgotten <= int(number) <= self._number else None

    def _answer(self, number: int | None) -> r.Fleet:
        token = f"{self._process}.{self._number}"
        if number is None:
            return r.Fleet(token, True, self._workers.all(), self._deployments.all())
        return r.Fleet(
            token,
            False,
            self._workers.since(number),
            self._deployments.since(number),
            self._workers.gone_since(number),
            self._deployments.gone_since(number),
        )


def _worker_rows(fleet: Fleet) -> Iterable[tuple[str, r.FleetWorker]]:
    conflicts = publication.conflicts_among(fleet.deployments.values(), fleet.workers, fleet.read_at)
    for worker_id, worker in fleet.workers.items():
        conflict = publication.of_address(worker) or conflicts.get(worker_id)
        yield worker_id, _worker(worker, conditions.merged(fleet.held.get(worker_id, ()), conflict), fleet.read_at)


def _worker(worker: Worker, held: Iterable[Held], now: float) -> r.FleetWorker:
    heartbeat = worker.heartbeat
    devices = [
        m.GpuDevice(device.index, device.name, device.memory_total, lost=device.lost)
        for device in worker.gpu_info.devices
    ]
    return r.FleetWorker(
        worker_id=worker.worker_id,
        name=str(worker.record.name),
        status="offline" if not worker.online(now) else "draining" if worker.draining() else "online",
        last_seen=when(heartbeat.last_seen),
        labels=worker.labels,
        hostname=str(worker.record.hostname),
        gpu_info=m.GpuInfo(worker.gpu_info.count, devices),
        gpu_usage=usage_figures.unpack(bytes(heartbeat.usage) if heartbeat.usage else None)[1],
        gpu_claims=worker.claims,
        conditions=conditions.views(held),
    )


def _deployment_rows(fleet: Fleet) -> Iterable[tuple[str, r.Deployment]]:
    """In the order in which they were made, as lists of deployments are."""
    found = list(fleet.deployments.values())
    for deployment in views.of_fleet(found, fleet.workers, fleet.held, fleet.read_at):
        yield deployment.deployment_id, deployment


def _is_same_worker(before: r.FleetWorker, after: r.FleetWorker) -> bool:
    """A heartbeat that says the same is no change, as long as the worker is not offline."""
    if after.status == "offline":
        return before == after
    return before == msgspec.structs.replace(after, last_seen=before.last_seen)


def _is_same_deployment(before: r.Deployment, after: r.Deployment) -> bool:
    if not after.reachable:
        return before == after
    return before == msgspec.structs.replace(after, status_as_of=before.status_as_of)


SHARED = Snapshot(settings.SNAPSHOT_SECONDS)
"""This process's."""
