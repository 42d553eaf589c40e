"""The GPUs of a worker as it reports them while it runs, and what is said of a change."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from pynamodb.transactions import TransactWrite

from chalicelib import claims, events
from chalicelib.contract import messages as m
from chalicelib.store import find, retrying, transact
from chalicelib.tables import Cold


def store(worker_id: str, info: m.GpuInfo, now: float) -> None:
    """Keep the new inventory, record what changed, and place what waits. The same inventory again costs one read.

    Raises Refused where others write the item again and again: the worker then repeats its news.
    """
    text = msgspec.json.encode(info).decode()

    def attempt() -> Cold | None:
        cold = find(Cold, worker_id, "cold")
        if cold is None or _decoded(cold.gpu_info) == info:
            return None

        def build(transaction: TransactWrite) -> None:
            as_read = Cold.gpu_info == cold.gpu_info
            transaction.update(cold, actions=[Cold.gpu_info.set(text)], condition=as_read)

        transact(build)
        return cold

    before: Cold | None = retrying(attempt)
    if before is not None:
        about = events.About(worker_id=worker_id, worker_name=str(before.name))
        record(about, _decoded(before.gpu_info), info, now)
        claims.place_waiting(now, on=worker_id)


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
