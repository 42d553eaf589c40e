"""Which deployment holds which GPU of a worker, and finding a place for those that wait for one.

A claim is JSON in the worker's cold item and changes in the same transaction as the deployment and its slot. One that
outlived its slot (a function was killed before it could release) is passed over and overwritten: nothing is reserved
for ever. It is taken away on condition that its slot does not hold at that moment: where a start came in between, the
claims read as before.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import msgspec
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action
from pynamodb.transactions import TransactWrite

from chalicelib.fleet import scan, workers
from chalicelib.fleet.workers import Machine, read_claims, write_claims
from chalicelib.scheduling import placement
from chalicelib.store import events, slots
from chalicelib.store.items import Refused, find, find_all, transact, update_if
from chalicelib.store.tables import Cold, Deployment, Slot
from muster.api import resources as r

BATCH = 100
"""Items that one request names; more are cheaper found among all of them."""


def spec_of(deployment: Deployment) -> r.NewDeployment:
    return msgspec.json.decode(deployment.spec, type=r.NewDeployment)


def indexes(deployment: Deployment, worker_id: str | None = None) -> list[int]:
    """The devices that the deployment was placed on; with `worker_id`, only if it is there."""
    if worker_id not in (None, deployment.worker_id):
        return []
    return msgspec.json.decode(deployment.gpu_indexes, type=list[int])


def release(worker_id: str, deployment_id: str) -> None:
    """Free what the deployment held on that worker. What it did not hold is no error, nor that it holds it again."""

    def let_go(transaction: TransactWrite) -> None:
        _check_let_go(transaction, worker_id, deployment_id)

    for _ in range(16):
        cold = find(Cold, worker_id, "cold")
        claims = read_claims(cold) if cold else {}
        left = {index: holder for index, holder in claims.items() if holder != deployment_id}
        if cold is None or left == claims:
            return
        slot = slots.get(worker_id, deployment_id)
        if (slot is not None and slot.holds) or _rewrite(cold, left, let_go):
            return


def confirm(slot: Slot, deployment: Deployment, now: float) -> None:
    """It runs: it holds its devices, where nobody was given them meanwhile, and no others that it held before.

    Unless it was changed meanwhile: what it holds by now is for the newer generation.
    """
    if not slot.holds:
        update_if(slot, [Slot.holds.set(True)], slots.unchanged(slot))
    own = slot.deployment_id

    def unchanged(transaction: TransactWrite) -> None:
        transaction.condition_check(Deployment, own, condition=Deployment.generation == deployment.generation)

    for _ in range(16):
        cold = find(Cold, slot.worker_id, "cold")
        claims = read_claims(cold) if cold else {}
        others = {index: holder for index, holder in claims.items() if holder != own}
        wanted = {str(index): own for index in indexes(deployment)} | others
        if cold is None or wanted == claims:
            return
        if _rewrite(cold, wanted, unchanged):
            if claims.keys() - wanted.keys():
                place_waiting(now, on=slot.worker_id)
            return


def _rewrite(cold: Cold, claims: workers.Claims, check: Callable[[TransactWrite], object]) -> bool:
    """Whether the claims were as they were read, and what `check` asks for is so."""

    def build(transaction: TransactWrite) -> None:
        _write(transaction, cold, claims)
        check(transaction)

    with suppress(Refused):
        transact(build)
        return True
    return False


def _write(transaction: TransactWrite, cold: Cold, claims: workers.Claims, condition: Condition | None = None) -> None:
    unchanged = Cold.claims == cold.claims
    actions: list[Action] = [Cold.claims.set(write_claims(claims))]
    transaction.update(cold, actions=actions, condition=unchanged if condition is None else unchanged & condition)


def _same_devices(cold: Cold) -> Condition:
    """That no GPU was lost, or found in use, since the item was read."""
    same: Condition = Cold.gpu_info == cold.gpu_info
    same &= Cold.occupied == cold.occupied if cold.occupied else Cold.occupied.does_not_exist()
    return same


def _check_let_go(transaction: TransactWrite, worker_id: str, deployment_id: str) -> None:
    transaction.condition_check(Slot, worker_id, f"D#{deployment_id}", condition=slots.LETS_GO)


def place_waiting(now: float, on: str | None = None) -> None:
    """Try again for every deployment that waits, on the whole fleet, or `on` the one worker where something changed."""
    waiting = [str(entry.deployment_id) for entry in Deployment.waiting_index.query("1")]
    if not waiting:
        return
    machines = workers.several([on]) if on else _machines(waiting)
    for deployment_id in waiting:
        changed = _place(deployment_id, machines, now, partial=on is not None)
        if changed in machines:
            machines |= workers.several([changed])


def place(deployment_id: str, now: float) -> None:
    """Give a waiting deployment a worker and its GPUs, or record why it has none yet."""
    _place(deployment_id, _machines([deployment_id], consistent=True), now, partial=False)


def _machines(deployment_ids: list[str], consistent: bool = False) -> dict[str, Machine]:
    """The workers that may have them: those that they are for, else the whole fleet, which is read in pages."""
    wanted = list(find_all(Deployment, deployment_ids))
    named = [spec_of(each).worker_id for each in wanted]
    if None in named:
        return scan.candidates(consistent)
    return workers.several([each for each in named if each])


def _place(deployment_id: str, machines: dict[str, Machine], now: float, *, partial: bool) -> str | None:
    """The worker that it went to. What it cannot have now, it goes on waiting for; the sweep comes back to it."""
    for _ in range(8):
        try:
            placed = _attempt(deployment_id, machines, now, partial)
        except Refused:  # somebody was quicker
            continue
        if placed:
            slots.ring(placed, now)
        return placed
    return None


def _attempt(deployment_id: str, machines: dict[str, Machine], now: float, partial: bool) -> str | None:
    deployment = find(Deployment, deployment_id)
    if deployment is None or deployment.waiting is None:
        return None
    spec = spec_of(deployment)
    need = placement.Need(spec.gpus if isinstance(spec.gpus, int) else tuple(spec.gpus), spec.worker_id, spec.selector)
    if partial and deployment.leaving in machines:
        place(deployment_id, now)  # what changed is that its old worker let go of it: any worker may have it now
        return None
    found = _choose(deployment, need, list(machines.values()), now)
    if isinstance(found, list):
        if not partial:
            _explain(deployment, "waiting for a place: " + "; ".join(found[:20]), now)
        return None
    machine = machines[found.worker_id]
    before = slots.get(found.worker_id, deployment_id)
    obstacle = _still_elsewhere(deployment, found.worker_id, now)
    if obstacle:
        _explain(deployment, obstacle, now)
        return None
    held = _valid_claims([machine], deployment_id)[machine.worker_id]
    held.update({str(index): deployment_id for index in found.gpu_indexes})
    if before is not None and before.may_live:  # until the new container runs, the old one may use what it held
        held.update({index: holder for index, holder in machine.claims.items() if holder == deployment_id})
    losers = {holder for index, holder in machine.claims.items() if held.get(index) != holder} - {deployment_id}

    def build(transaction: TransactWrite) -> None:
        _write(transaction, machine.cold, held, _same_devices(machine.cold))
        for loser in losers:
            _check_let_go(transaction, machine.worker_id, loser)
        transaction.update(
            deployment,
            actions=[
                Deployment.worker_id.set(found.worker_id),
                Deployment.gpu_indexes.set(msgspec.json.encode(found.gpu_indexes).decode()),
                Deployment.waiting.remove(),
                Deployment.leaving.remove(),
                Deployment.message.remove(),
                Deployment.updated_at.set(now),
                Deployment.version.add(1),
            ],
            condition=Deployment.version == deployment.version,
        )
        slots.put(transaction, found.worker_id, deployment_id, "deploy", int(deployment.generation), before)

    try:
        transact(build)
    except Refused:  # what was read of this worker may no longer be true
        del machines[found.worker_id]
        machines |= workers.several([found.worker_id])
        raise
    where = f"on {machine.cold.name}" + (f", GPU {', '.join(map(str, found.gpu_indexes))}" if found.gpu_indexes else "")
    about = events.About(deployment_id, deployment.name, found.worker_id, machine.cold.name)
    events.record(about, "placed", where, events.CONTROL_PLANE, now)
    return found.worker_id


def _choose(
    deployment: Deployment, need: placement.Need, machines: list[Machine], now: float
) -> placement.Place | list[str]:
    """The worker it was on before is asked first, since its weights are there."""
    home = [each for each in machines if each.worker_id == deployment.leaving and each.online(now)]
    for group in (home, machines):
        found = placement.place(need, [_candidate(each, each.claims, deployment, now) for each in group])
        if isinstance(found, placement.Place):
            return found
    hopeful = [each for each in machines if _may_have_room(each, deployment, need, now)]
    claims = {each.worker_id: each.claims for each in machines} | _valid_claims(hopeful, deployment.deployment_id)
    return placement.place(need, [_candidate(each, claims[each.worker_id], deployment, now) for each in machines])


def _may_have_room(machine: Machine, deployment: Deployment, need: placement.Need, now: float) -> bool:
    """Whether it would, if none of its claims held."""
    return isinstance(placement.place(need, [_candidate(machine, {}, deployment, now)]), placement.Place)


def _candidate(machine: Machine, claims: workers.Claims, deployment: Deployment, now: float) -> placement.Candidate:
    own = deployment.deployment_id
    ours = (index for index in machine.devices if claims.get(str(index), own) == own)
    free = tuple(index for index in ours if index not in machine.unusable)
    return placement.Candidate(
        worker_id=machine.worker_id,
        name=machine.cold.name,
        online=machine.online(now),
        draining=machine.draining(),
        labels=machine.labels,
        devices=machine.devices,
        free=free,
        unusable=machine.unusable,
        mig=machine.mig,
    )


def _valid_claims(machines: list[Machine], own: str) -> dict[str, workers.Claims]:
    """Of each worker the claims of others whose slot says that they may still use their GPUs."""
    keys = {(each.worker_id, f"D#{holder}") for each in machines for holder in each.claims.values() if holder != own}
    read = find_all(Slot, sorted(keys)) if len(keys) <= BATCH else scan.holding()
    holding = {(slot.worker_id, slot.deployment_id) for slot in read if slot.holds}
    return {
        each.worker_id: {i: holder for i, holder in each.claims.items() if (each.worker_id, holder) in holding}
        for each in machines
    }


def _still_elsewhere(deployment: Deployment, target: str, now: float) -> str | None:
    """A container on the worker that it leaves must be gone first, as long as that worker can be asked."""
    left = deployment.leaving
    machine = workers.several([left]).get(left) if left and left != target else None
    slot = slots.get(left, deployment.deployment_id) if machine else None
    if machine and slot and slot.may_live and machine.online(now):
        return f"waiting until {machine.cold.name} has stopped it"
    return None


def _explain(deployment: Deployment, message: str, now: float) -> None:
    """Its timeline has the first reason; later ones change with every worker that comes and goes."""
    if deployment.message == message:
        return
    is_first = not deployment.message
    explained = [Deployment.message.set(message), Deployment.version.add(1)]
    if update_if(deployment, explained, Deployment.version == deployment.version) and is_first:
        events.record(events.on(deployment), "waiting", message, events.CONTROL_PLANE, now)
