"""Reading workers: the two items of each, and what follows from them at a moment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import msgspec

from chalicelib.store import settings
from chalicelib.store.events import About
from chalicelib.store.items import find_all
from chalicelib.store.tables import Cold, Hot
from muster.api import messages as m
from muster.api.errors import ApiError

ONLINE_WINDOW = settings.ONLINE_WINDOW
BUSY, WARM = 60.0, 300.0
BUSY_INTERVAL, WARM_INTERVAL = 1, 5
CLOCKS_DIFFER = 300.0
"""Seconds that two readings of the control plane's clock may be apart, and no more: then it was set."""
Claims = dict[str, str]
ANY = "*"
"""Stands for an index: any of the devices."""


def interval(activity_at: float, now: float) -> int:
    """Seconds to the next heartbeat: short while something is under way, then 5, then the default."""
    quiet = now - activity_at
    if quiet < -CLOCKS_DIFFER:  # the clock was put back since: nobody can tell how long ago it was
        return settings.HEARTBEAT
    wanted = BUSY_INTERVAL if quiet < BUSY else WARM_INTERVAL if quiet < WARM else settings.HEARTBEAT
    return min(wanted, settings.HEARTBEAT)


def due_in(hot: Hot, now: float) -> int:
    """Seconds until the worker's next heartbeat, by the interval that its last one was given; 0 if it is overdue."""
    activity_at = hot.activity_at if hot.activity_before is None else hot.activity_before
    given = interval(float(activity_at), float(hot.last_seen))
    return min(given, max(0, math.ceil(float(hot.last_seen) + given - now)))


def is_online(hot: Hot, now: float) -> bool:
    """A heartbeat within the window, or three of the longest interval last given; never after a goodbye."""
    return not hot.gone and hot.status != "offline" and now <= online_until(hot)


def online_until(hot: Hot) -> float:
    """When the worker counts as offline unless it sends another heartbeat."""
    return float(hot.last_seen) + max(ONLINE_WINDOW, 3 * float(hot.interval))


@dataclass
class Machine:
    """A worker as it was read."""

    cold: Cold
    hot: Hot

    @property
    def worker_id(self) -> str:
        return str(self.cold.worker_id)

    @property
    def about(self) -> About:
        """What a line of its timeline is about."""
        return About(worker_id=self.worker_id, worker_name=str(self.cold.name))

    @cached_property
    def gpu_info(self) -> m.GpuInfo:
        return msgspec.json.decode(self.cold.gpu_info, type=m.GpuInfo)

    @cached_property
    def devices(self) -> tuple[int, ...]:
        info = self.gpu_info
        return tuple(sorted({d.index for d in info.devices})) or tuple(range(info.count))

    @cached_property
    def unusable(self) -> dict[int, str]:
        """The devices that nothing may be placed on, each with the reason, whether or not a deployment holds them."""
        taken = read_occupied(self.cold)
        found = {int(index): _used_by(holder) for index, holder in taken.items() if index != ANY}
        if ANY in taken:
            found = {index: found.get(index, _used_by(taken[ANY], "perhaps ")) for index in self.devices}
        return found | {each.index: "lost" for each in self.gpu_info.devices if each.lost}

    @cached_property
    def mig(self) -> frozenset[int]:
        """The devices that are MIG devices, by which NVIDIA's drivers begin their UUIDs."""
        return frozenset(each.index for each in self.gpu_info.devices if (each.uuid or "").startswith("MIG-"))

    @cached_property
    def labels(self) -> dict[str, str]:
        return msgspec.json.decode(self.cold.labels, type=dict[str, str])

    @cached_property
    def claims(self) -> Claims:
        return read_claims(self.cold)

    def online(self, now: float) -> bool:
        return is_online(self.hot, now)

    def draining(self) -> bool:
        return bool(self.cold.draining) or self.hot.status == "draining"


def read_claims(cold: Cold) -> Claims:
    return msgspec.json.decode(cold.claims, type=Claims)


def read_occupied(cold: Cold) -> Claims:
    """Device index, or `ANY`, to the id of a deployment that runs there and that the control plane does not know."""
    return msgspec.json.decode(cold.occupied, type=Claims) if cold.occupied else {}


def _used_by(deployment_id: str, perhaps: str = "") -> str:
    return f"{perhaps}in use by {deployment_id}, which runs there and is not known here"


def write_claims(claims: Claims) -> str:
    return msgspec.json.encode(claims, order="sorted").decode()


def several(worker_ids: list[str]) -> dict[str, Machine]:
    """Those of the workers that exist. One that is removed between the two reads, and so left a tombstone, does not."""
    ids = sorted(set(worker_ids))
    colds = {str(c.worker_id): c for c in find_all(Cold, [(i, "cold") for i in ids])}
    hots = {str(h.worker_id): h for h in find_all(Hot, ids) if not h.gone}
    return {i: Machine(colds[i], hots[i]) for i in ids if i in colds and i in hots}


def get(worker_id: str) -> Machine:
    """Raises WORKER_NOT_FOUND."""
    machine = several([worker_id]).get(worker_id)
    if machine is None:
        raise ApiError("WORKER_NOT_FOUND", "there is no such worker; GET /api/workers lists them")
    return machine
