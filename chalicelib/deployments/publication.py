"""Which endpoints are shown, and to whom: in views, discovery, and through them in gateways (docs/adr/0028).

A worker's address is a claim, which sends requests and models' keys to a place of its choice. An endpoint is shown if

    the address is one that a worker may have       link-local, metadata and multicast addresses are refused
    the instance listens there                      its agent says so, or an operator pinned the address
    no other machine holds that address and port    of two workers that are online, the earlier claim has it

What is not shown is the condition AddressConflict of its worker. Nothing here is stored but who claims which address.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from chalicelib.deployments import serving
from chalicelib.deployments.serving import Serving
from chalicelib.fleet import address_claims, workers
from chalicelib.fleet.conditions import Held
from chalicelib.fleet.workers import Worker
from chalicelib.store import slots
from chalicelib.store.items import find_all
from chalicelib.store.tables import AddressClaims, Deployment
from muster.api import addresses
from muster.api.addresses import Place
from muster.api.conditions import ConditionType
from muster.api.structs import Value

MAX_RIVALS = 64
"""Workers of one address that are compared; more than that on one address are a proxy, or an attack."""


class Claim(Value, frozen=True, dict=True):
    """An instance that serves, and where its worker says that it can be reached."""

    deployment_id: str
    worker: Worker
    serves: Serving

    @cached_property
    def endpoint(self) -> str | None:
        """What would be shown; None for a worker without an address."""
        address = self.worker.record.address
        return addresses.endpoint(address, self.serves.port) if address else None

    @cached_property
    def problem(self) -> str | None:
        """Why it is not shown, whatever others claim."""
        record = self.worker.record
        if self.endpoint is None:
            return None
        for found in (address_claims.of(self.worker.record), addresses.of_endpoint(self.endpoint)):
            if not address_claims.may_be_shown(found):
                return found.problem
        if self.listens:
            return None
        if self.serves.address:
            return f"it listens at {self.serves.address}, and its worker's address is {record.address} by now"
        return f"its agent says that it cannot be reached at {record.address}, its worker's address"

    @property
    def listens(self) -> bool:
        """Whether the instance can be reached by the worker's address, as far as its agent or an operator says."""
        record = self.worker.record
        return self.serves.address in (None, record.address) or address_claims.is_pinned(record)

    @cached_property
    def places(self) -> list[Place]:
        """Where the endpoint leads: by name, and by what the name resolved to."""
        leads = addresses.place(self.endpoint) if self.endpoint and self.problem is None else None
        if leads is None:
            return []
        if leads.port != self.serves.port or not address_claims.has_own_ports(self.worker.record.address):
            return [leads]
        hosts = [leads.host, *(addresses.of_host(host).host for host in address_claims.results_of(self.worker.record))]
        return [Place(host, leads.port) for host in dict.fromkeys(hosts)]

    @property
    def rank(self) -> tuple[bool, float, str]:
        return address_claims.rank(self.worker.record)


class Shown(Value, frozen=True):
    """The endpoint of what serves; or `problem`, why there is none. `conflict_since` is set where the problem is the
    worker's address, which the owner of the host or an operator can solve.
    """

    serves: Serving
    endpoint: str | None
    problem: str | None = None
    conflict_since: float | None = None

    @property
    def conflict(self) -> Held | None:
        if self.problem is None or self.conflict_since is None:
            return None
        return Held(ConditionType.ADDRESS_CONFLICT, self.conflict_since, self.problem)


def shown(
    deployments: Iterable[Deployment],
    workers_by_id: Mapping[str, Worker],
    now: float,
    rivals: Iterable[Claim] | None = None,
) -> dict[str, Shown]:
    """What each of the deployments that have an instance shows. `machines` are the workers of those instances.

    `rivals` are the claims to compare with: those of the whole fleet, or None to look for them.
    """
    claims = _claims(deployments, workers_by_id, now)
    others = _rivals([claim for claim in claims if claim.places], now) if rivals is None else rivals
    holders: dict[Place, list[Claim]] = {}
    for other in others:
        for where in other.places if other.worker.online(now) else ():
            holders.setdefault(where, []).append(other)
    return {claim.deployment_id: _shown(claim, holders) for claim in claims}


def claims_of(deployments: Iterable[Deployment], workers_by_id: Mapping[str, Worker], now: float) -> list[Claim]:
    """Every claim of a fleet that was read whole."""
    return [claim for claim in _claims(deployments, workers_by_id, now) if claim.places]


def serving_workers(deployments: Iterable[Deployment]) -> set[str]:
    """The workers of the instances that serve."""
    return {serves.worker_id for deployment in deployments if (serves := serving.of(deployment)) is not None}


def _claims(deployments: Iterable[Deployment], workers_by_id: Mapping[str, Worker], now: float) -> list[Claim]:
    found = []
    for deployment in deployments:
        serves = serving.of(deployment)
        worker = workers_by_id.get(serves.worker_id) if serves else None
        if serves is None or worker is None:
            continue
        if serves.worker_id != deployment.worker_id and not worker.online(now):
            continue  # the deployment went elsewhere, and nobody knows whether the old instance is still there
        found.append(Claim(str(deployment.deployment_id), worker, serves))
    return found


def _shown(claim: Claim, holders: Mapping[Place, list[Claim]]) -> Shown:
    if claim.problem is not None:
        record = claim.worker.record
        is_conflict = claim.listens or not address_claims.may_be_shown(address_claims.of(record))
        return Shown(claim.serves, None, claim.problem, address_claims.claimed_at(record) if is_conflict else None)
    for where in claim.places:
        for other in holders.get(where, ()):
            if other.rank < claim.rank and not _same_host(other.worker, claim.worker):
                name = claim.worker.record.name
                holder = f"worker {other.worker.record.name}, which is online, holds {where.host} port {where.port}"
                advice = f"give {name} an address of its own, or pin it where it is right"
                since = max(claim.serves.since, other.serves.since, address_claims.claimed_at(claim.worker.record))
                return Shown(claim.serves, None, f"{holder}: {advice}", since)
    return Shown(claim.serves, claim.endpoint)


def _same_host(one: Worker, other: Worker) -> bool:
    if one.worker_id == other.worker_id:
        return True
    return one.record.machine_id is not None and one.record.machine_id == other.record.machine_id


def _rivals(claims: Sequence[Claim], now: float) -> list[Claim]:
    """The claims of other workers on the same addresses. One read if there are none, as it mostly is."""
    own = {claim.worker.worker_id: claim.worker for claim in claims}
    workers_by_id = _sharing(own.values(), now)
    return claims_of(_deployments_of(workers_by_id), workers_by_id, now) if workers_by_id.keys() - own.keys() else []


def _sharing(claimants: Iterable[Worker], now: float) -> dict[str, Worker]:
    """The workers that are online and claim an address which one of `claimants` and another worker claim."""
    keys = {key for claimant in claimants for key in address_claims.keys_of(claimant.record)}
    items = find_all(AddressClaims, [(key, "address") for key in sorted(keys)])
    sharing = {worker_id for item in items if item.workers and len(item.workers) > 1 for worker_id in item.workers}
    online = [worker for worker in workers.several(sorted(sharing)).values() if worker.online(now)]
    online.sort(key=lambda worker: address_claims.rank(worker.record))
    return {worker.worker_id: worker for worker in online[:MAX_RIVALS]}


def _deployments_of(worker_ids: Iterable[str]) -> list[Deployment]:
    found: dict[str, Deployment] = {}
    for worker_id in worker_ids:
        held = [slot.deployment_id for slot in slots.of_worker(worker_id)[0]]
        found |= {str(deployment.deployment_id): deployment for deployment in find_all(Deployment, held)}
    return list(found.values())


# What their workers are told


def conflicts(workers_by_id: Mapping[str, Worker], now: float) -> dict[str, Held]:
    """The condition AddressConflict of each worker whose address, or a model's endpoint, is not shown."""
    found = {worker_id: held for worker_id, worker in workers_by_id.items() if (held := of_address(worker)) is not None}
    sharing = _sharing(workers_by_id.values(), now)
    if sharing:
        deployments = _deployments_of(sharing.keys() | workers_by_id.keys())
        for worker_id, held in conflicts_among(deployments, {**workers_by_id, **sharing}, now).items():
            if worker_id in workers_by_id:
                found.setdefault(worker_id, held)
    return found


def conflicts_among(
    deployments: Iterable[Deployment], workers_by_id: Mapping[str, Worker], now: float
) -> dict[str, Held]:
    """The conditions that follow from endpoints, for a fleet that was read whole (`of_address` has the addresses')."""
    known = list(deployments)
    found: dict[str, Held] = {}
    for deployment_id, shown_endpoint in shown(known, workers_by_id, now, claims_of(known, workers_by_id, now)).items():
        conflict = shown_endpoint.conflict
        if conflict is not None:
            held = found.setdefault(shown_endpoint.serves.worker_id, conflict)
            held.since = min(held.since, conflict.since)
            held.deployments = [*(held.deployments or []), deployment_id]
    return found


def of_address(worker: Worker) -> Held | None:
    """The condition AddressConflict of a worker whose address may not be shown, even if nothing runs there."""
    found = address_claims.of(worker.record)
    if not worker.record.address or address_claims.may_be_shown(found):
        return None
    since = address_claims.claimed_at(worker.record)
    return Held(ConditionType.ADDRESS_CONFLICT, since, found.problem or "", deployments=[])
