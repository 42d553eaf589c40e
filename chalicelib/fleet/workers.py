"""Reading workers: the two items of each, and what follows from them at a moment."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import msgspec
from pynamodb.attributes import Attribute

from chalicelib.store import settings
from chalicelib.store.events import About
from chalicelib.store.items import find_all
from chalicelib.store.tables import WorkerHeartbeat, WorkerRecord
from muster.api import messages as m
from muster.api.errors import ApiError
from muster.api.structs import Value

ONLINE_WINDOW = settings.ONLINE_WINDOW
BUSY_SECONDS, WARM_SECONDS = 60.0, 300.0
BUSY_INTERVAL_SECONDS, WARM_INTERVAL_SECONDS = 1, 5
MAX_CLOCK_SKEW_SECONDS = 300.0
"""Seconds that two readings of the control plane's clock may be apart, and no more: then it was set."""
Claims = dict[str, str]
ANY_DEVICE = "*"
"""Stands for an index: any of the devices."""


def interval(activity_at: float, now: float) -> int:
    """Seconds to the next heartbeat: short while something is under way, then 5, then the default."""
    quiet = now - activity_at
    if quiet < -MAX_CLOCK_SKEW_SECONDS:  # the clock was put back since: nobody can tell how long ago it was
        return settings.HEARTBEAT
    if quiet < BUSY_SECONDS:
        return min(BUSY_INTERVAL_SECONDS, settings.HEARTBEAT)
    if quiet < WARM_SECONDS:
        return min(WARM_INTERVAL_SECONDS, settings.HEARTBEAT)
    return settings.HEARTBEAT


def due_in(heartbeat: WorkerHeartbeat, now: float) -> int:
    """Seconds until the worker's next heartbeat, by the interval that its last one was given; 0 if it is overdue."""
    activity_at = heartbeat.activity_at if heartbeat.activity_before is None else heartbeat.activity_before
    given = interval(float(activity_at), float(heartbeat.last_seen))
    return min(given, max(0, math.ceil(float(heartbeat.last_seen) + given - now)))


def is_online(heartbeat: WorkerHeartbeat, now: float) -> bool:
    """A heartbeat within the window, or three of the longest interval last given; never after a goodbye."""
    return not heartbeat.gone and heartbeat.status != "offline" and now <= online_until(heartbeat)


def online_until(heartbeat: WorkerHeartbeat) -> float:
    """When the worker counts as offline unless it sends another heartbeat."""
    return float(heartbeat.last_seen) + max(ONLINE_WINDOW, 3 * float(heartbeat.interval))


def stored_names(*attributes: Attribute[Any]) -> list[str]:
    """The names that the attributes have in the database."""
    return [attribute.attr_name for attribute in attributes]


RECORD_SHOWN = stored_names(
    *(WorkerRecord.worker_id, WorkerRecord.part, WorkerRecord.kind, WorkerRecord.rank, WorkerRecord.name),
    *(WorkerRecord.gpu_info, WorkerRecord.system_info, WorkerRecord.labels, WorkerRecord.address, WorkerRecord.patched),
    *(
        WorkerRecord.draining,
        WorkerRecord.claims,
        WorkerRecord.occupied,
        WorkerRecord.machine_id,
        WorkerRecord.hostname,
    ),
    *(WorkerRecord.agent_version, WorkerRecord.ephemeral, WorkerRecord.registered_at),
    *(WorkerRecord.claimed, WorkerRecord.claimed_at, WorkerRecord.resolved),
)
HEARTBEAT_SHOWN = stored_names(
    *(WorkerHeartbeat.worker_id, WorkerHeartbeat.session, WorkerHeartbeat.last_seen, WorkerHeartbeat.status),
    *(WorkerHeartbeat.interval, WorkerHeartbeat.usage, WorkerHeartbeat.conditions, WorkerHeartbeat.journal),
    *(WorkerHeartbeat.activity_at, WorkerHeartbeat.activity_before, WorkerHeartbeat.gone, WorkerHeartbeat.tunnels),
)
"""What operators' lists are made of: of a heartbeat, half of its attributes are for credentials and reconciling."""


class Host(Value, frozen=True, dict=True):
    """What a worker's record contains: the GPUs, the labels, and the claims."""

    record: WorkerRecord

    @cached_property
    def gpu_info(self) -> m.GpuInfo:
        return msgspec.json.decode(self.record.gpu_info, type=m.GpuInfo)

    @cached_property
    def devices(self) -> tuple[int, ...]:
        info = self.gpu_info
        return tuple(sorted({d.index for d in info.devices})) or tuple(range(info.count))

    @cached_property
    def unusable(self) -> dict[int, str]:
        """The devices that nothing may be placed on, each with the reason, whether or not a deployment holds them."""
        taken = read_occupied(self.record)
        found = {int(index): _used_by(holder) for index, holder in taken.items() if index != ANY_DEVICE}
        if ANY_DEVICE in taken:
            found = {index: found.get(index, _used_by(taken[ANY_DEVICE], "perhaps ")) for index in self.devices}
        return found | {device.index: "lost" for device in self.gpu_info.devices if device.lost}

    @cached_property
    def mig(self) -> frozenset[int]:
        """The devices that are MIG devices, by which NVIDIA's drivers begin their UUIDs."""
        return frozenset(device.index for device in self.gpu_info.devices if (device.uuid or "").startswith("MIG-"))

    @cached_property
    def labels(self) -> dict[str, str]:
        return msgspec.json.decode(self.record.labels, type=dict[str, str])

    @cached_property
    def claims(self) -> Claims:
        return read_claims(self.record)


class Worker(Host, frozen=True, dict=True):
    """A worker as it was read."""

    heartbeat: WorkerHeartbeat

    @property
    def worker_id(self) -> str:
        return str(self.record.worker_id)

    @property
    def about(self) -> About:
        """What a line of its timeline is about."""
        return About(worker_id=self.worker_id, worker_name=str(self.record.name))

    def online(self, now: float) -> bool:
        return is_online(self.heartbeat, now)

    def at(self, heartbeat: WorkerHeartbeat) -> Worker:
        """The worker at a later heartbeat. What was worked out of its record goes with it."""
        later = Worker(self.record, heartbeat)
        vars(later).update(vars(self))
        return later

    def draining(self) -> bool:
        return bool(self.record.draining) or self.heartbeat.status == "draining"


def read_claims(record: WorkerRecord) -> Claims:
    return msgspec.json.decode(record.claims, type=Claims)


def read_occupied(record: WorkerRecord) -> Claims:
    """Device index, or `ANY_DEVICE`, to the id of a deployment that runs there and is unknown to the control plane."""
    return msgspec.json.decode(record.occupied, type=Claims) if record.occupied else {}


def _used_by(deployment_id: str, perhaps: str = "") -> str:
    return f"{perhaps}in use by {deployment_id}, which runs there and is not known here"


def write_claims(claims: Claims) -> str:
    return msgspec.json.encode(claims, order="sorted").decode()


def several(worker_ids: list[str]) -> dict[str, Worker]:
    """Those of the workers that exist. One that is removed between the two reads, and so left a tombstone, does not."""
    found = find_all(WorkerRecord, [(i, "cold") for i in set(worker_ids)])
    return with_heartbeats(sorted(found, key=lambda record: str(record.worker_id)))


def with_heartbeats(records: Iterable[WorkerRecord], attributes: Sequence[str] | None = None) -> dict[str, Worker]:
    """The workers of records that were read already, by id in the order of the records; their heartbeats are read.

    `attributes` are the stored names that heartbeats are made of, by default all.
    """
    by_id = {str(record.worker_id): record for record in records}
    heartbeats = {str(h.worker_id): h for h in find_all(WorkerHeartbeat, by_id, attributes) if not h.gone}
    return {i: Worker(record, heartbeats[i]) for i, record in by_id.items() if i in heartbeats}


def get(worker_id: str) -> Worker:
    """Raises WORKER_NOT_FOUND."""
    worker = several([worker_id]).get(worker_id)
    if worker is None:
        raise ApiError("WORKER_NOT_FOUND", "there is no such worker; GET /api/workers lists them")
    return worker
