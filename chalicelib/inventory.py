"""The GPUs of a worker as it reports them while it runs, and what is said of a change."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import msgspec
from pynamodb.expressions.update import Action

from chalicelib import claims, events, fleet
from chalicelib.contract import messages as m
from chalicelib.store import find, retrying, transact
from chalicelib.tables import Cold


def follow(worker_id: str, info: m.GpuInfo | None, occupied: fleet.Claims, now: float) -> bool:
    """Keep what a heartbeat says of the GPUs: the inventory, where it brings one, and what runs there unknown to us.

    Record what changed, and place what waits; whether anything changed. What is so already costs one read. Raises
    Refused where others write the item again and again: the worker then repeats its news.
    """

    def attempt() -> Cold | None:
        cold = find(Cold, worker_id, "cold")
        if cold is None:
            return None
        actions = list(_changes(cold, info, occupied))
        if not actions:
            return None
        as_read = Cold.gpu_info == cold.gpu_info
        as_read &= Cold.occupied == cold.occupied if cold.occupied else Cold.occupied.does_not_exist()
        transact(lambda transaction: transaction.update(cold, actions=actions, condition=as_read))
        return cold

    before: Cold | None = retrying(attempt)
    if before is None:
        return False
    if info is not None:
        about = events.About(worker_id=worker_id, worker_name=str(before.name))
        record(about, _decoded(before.gpu_info), info, now)
    claims.place_waiting(now, on=worker_id)
    return True


def _changes(cold: Cold, info: m.GpuInfo | None, occupied: fleet.Claims) -> Iterator[Action]:
    if info is not None and _decoded(cold.gpu_info) != info:
        yield Cold.gpu_info.set(msgspec.json.encode(info).decode())
    if fleet.read_occupied(cold) != occupied:
        yield Cold.occupied.set(fleet.write_claims(occupied)) if occupied else Cold.occupied.remove()


def occupied(body: m.Heartbeat, known: Collection[str]) -> fleet.Claims:
    """Device index to what runs on it and is none of the `known`, which are the deployments with a slot there.

    A client that does not tell the devices of what it runs may run it on any.
    """
    told = {each.deployment_id: each.gpus for each in body.orphans or []}
    found: fleet.Claims = {}
    # What the agent calls an orphan is one, also where a deployment of that id was placed there since.
    for each in sorted({*body.active_deployments}.difference(known) | told.keys()):
        for index in [fleet.ANY] if (gpus := told.get(each)) is None else map(str, gpus):
            found.setdefault(index, each)
    return found


def _decoded(text: str) -> m.GpuInfo:
    return msgspec.json.decode(text, type=m.GpuInfo)


def record(about: events.About, before: m.GpuInfo, now_there: m.GpuInfo, now: float) -> None:
    """A line of the worker's timeline, where a device came, went, is lost or back, or has another index."""
    changes = "; ".join(changed(before, now_there))
    if changes:
        events.record(about, "gpus_changed", changes, f"worker {about.worker_name}", now)


def changed(before: m.GpuInfo, after: m.GpuInfo) -> Iterator[str]:
    """What differs, one clause for each index; figures that only tell a device's name or version are no news."""
    was, is_ = ({each.index: each for each in info.devices} for info in (before, after))
    if not was and not is_ and before.count != after.count:
        yield f"{after.count} GPUs, {before.count} before"
    for index in sorted(was.keys() | is_.keys()):
        old, new = was.get(index), is_.get(index)
        if new is None:
            yield f"GPU {index}{_named(old)} is gone"
        elif old is None:
            yield f"GPU {index}{_named(new)} is {'lost' if new.lost else 'there'}"
        elif new.lost != old.lost:
            yield f"GPU {index}{_named(new)} is {'lost' if new.lost else 'back'}"
        elif new.uuid and old.uuid and new.uuid != old.uuid:
            yield f"GPU {index} is {new.uuid} now, in place of {old.uuid}"


def _named(device: m.GpuDevice | None) -> str:
    return f" ({device.uuid})" if device is not None and device.uuid else ""
