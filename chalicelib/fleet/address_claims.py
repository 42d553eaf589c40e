"""A worker's address as a claim: whether a worker may have it, since when, and who else claims it (docs/adr/0028).

Who claims an address is an item of its own, so that those few who share one are found without reading the fleet.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from pynamodb.exceptions import UpdateError

from chalicelib.store import settings
from chalicelib.store.items import find, update_if
from chalicelib.store.tables import AddressClaims, WorkerRecord
from muster.api import addresses
from muster.api.addresses import Kind, Reading
from muster.api.errors import ApiError
from muster.api.resolving import Resolve


def refuse(address: str | None, *, strictly: bool = False, resolve: Resolve | None = None) -> None:
    """Raises INVALID_REQUEST for an address that no worker may have; `strictly`, for all that is never shown.

    A worker with a mistyped address is taken, since it can do all else; an operator is told.
    """
    if not address:
        return
    found = addresses.read(address)
    if resolve is not None and found.kind is Kind.ORDINARY:
        found = worst(found, resolve)
    if found.kind is Kind.FORBIDDEN or (strictly and not may_be_shown(found)):
        raise ApiError(
            "INVALID_REQUEST", f"address: {found.problem}; give an address at which clients reach the worker"
        )


def may_be_shown(found: Reading, is_local: bool = settings.LOCAL) -> bool:
    """Whether endpoints with that host are shown: loopback is for a control plane whose clients are on its machine."""
    return found.kind is Kind.ORDINARY or (found.kind is Kind.LOOPBACK and is_local)


def worst(found: Reading, resolve: Resolve) -> Reading:
    """The most dangerous of what the host of an ordinary address resolves to; `found` itself if nothing is worse."""
    results = [addresses.of_host(host) for host in resolve(found.host)]
    return max((found, *results), key=lambda reading: reading.kind)


def note(worker_id: str, now: float, resolve: Resolve) -> None:
    """Store since when the worker has its address, what the address resolves to, and that the worker claims it.

    After a registration and a change by an operator. May be repeated after being cut off anywhere.
    """
    record = find(WorkerRecord, worker_id, "cold")
    if record is None or record.claimed == (record.address or ""):
        return
    before, address = keys(record.claimed, results_of(record)), record.address
    results = list(resolve(addresses.read(address).host)) if address else []
    after = keys(address, results)
    for key in after:
        _add(key, worker_id)
    actions = [
        WorkerRecord.claimed.set(address or ""),
        WorkerRecord.claimed_at.set(now),
        WorkerRecord.resolved.set(msgspec.json.encode(results).decode()) if results else WorkerRecord.resolved.remove(),
    ]
    # If it has another address by now, whoever set that one notes it.
    if update_if(
        record, actions, WorkerRecord.address == address if address else WorkerRecord.address.does_not_exist()
    ):
        _take_back(worker_id, [key for key in before if key not in after])


def forget(record: WorkerRecord) -> None:
    """The worker is gone: it claims nothing any more."""
    _take_back(str(record.worker_id), keys_of(record))


def _add(key: str, worker_id: str) -> None:
    try:
        AddressClaims(key, part="address").update(actions=[AddressClaims.workers.add({worker_id})])
    except UpdateError as error:
        # The item is full: those who were there first are in it, and it is they who matter.
        if error.cause_response_code != "ValidationException":
            raise


def _take_back(worker_id: str, keys: Iterable[str]) -> None:
    for key in keys:
        AddressClaims(key, part="address").update(actions=[AddressClaims.workers.delete({worker_id})])


def keys_of(record: WorkerRecord) -> list[str]:
    """Under what the worker's claim is found."""
    return keys(record.claimed, results_of(record))


def keys(address: str | None, results: Iterable[str]) -> list[str]:
    """The host, and what it resolves to. A template with another host for each port is found as it is written.

    Behind one address of a proxy are many hosts, so what the host of a template resolves to says nothing.
    """
    if not address:
        return []
    netloc = address.partition("://")[2].partition("/")[0].removesuffix(":{port}")
    host = address.lower() if "{port}" in netloc else addresses.read(address).host
    own = [addresses.of_host(result).host for result in results] if has_own_ports(address) else []
    return [f"address#{name}" for name in dict.fromkeys([host, *own]) if name]


def has_own_ports(address: str) -> bool:
    """Whether the ports are the models' own, and not a proxy's."""
    return "{port}" not in address or ":{port}" in address.partition("://")[2].partition("/")[0]


def results_of(record: WorkerRecord) -> list[str]:
    return msgspec.json.decode(record.resolved, type=list[str]) if record.resolved else []


def of(record: WorkerRecord) -> Reading:
    """What the worker's address is, with what it resolved to."""
    found = addresses.read(record.address or "")
    return worst(found, lambda host: results_of(record)) if found.kind is Kind.ORDINARY else found


def is_pinned(record: WorkerRecord) -> bool:
    """Whether an operator set the address: it is shown as it is."""
    return "address" in msgspec.json.decode(record.patched, type=list[str])


def claimed_at(record: WorkerRecord) -> float:
    """Since when the worker has its address, in epoch seconds."""
    return float(record.claimed_at or record.registered_at)


def rank(record: WorkerRecord) -> tuple[bool, float, str]:
    """The smaller one holds a place that several workers claim: a pinned address, then the earlier claim."""
    return not is_pinned(record), claimed_at(record), str(record.worker_id)
