"""How a host becomes a worker, comes back as the same one, or takes the name of one that is gone (PROTOCOL, register).

name unknown ── registration token good ──────────────────────────► a new worker, one use of the token
name known ──┬─ its own token, or same machine with the token ────► the same worker; a fresh token; a new session
             │  that it joined with (even used up or expired)         unless boot_id says that it is the same boot
             ├─ another registration token, worker offline, takeover ► the name changes hands
             └─ otherwise ───────────────────────────────────────── WORKER_NAME_IN_USE
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from pynamodb.expressions.update import Action
from pynamodb.transactions import TransactWrite

from chalicelib import claims, deployments, events, fleet, inventory, settings, slots, tokens
from chalicelib.contract import messages as m
from chalicelib.contract.errors import ApiError
from chalicelib.fleet import Machine
from chalicelib.store import find, grow, retrying, transact
from chalicelib.tables import Cold, Conditions, Credential, Hot, WorkerName

GRACE = 600.0
"""Seconds for which the token before stays good while the new one was not used."""
RETIRED_BOOTS = 16


def register(body: m.Registration, bearer: str | None, now: float) -> m.Registered:
    """Raises UNAUTHENTICATED, WORKER_NAME_IN_USE, SESSION_SUPERSEDED, WORKER_REMOVED."""
    answer: m.Registered = retrying(lambda: _attempt(body, bearer, now))
    claims.place_waiting(now, on=answer.worker_id)
    return answer


def _attempt(body: m.Registration, bearer: str | None, now: float) -> m.Registered:
    presented = [secret for secret in (bearer, body.token) if secret]
    owner = find(WorkerName, name_key(body.name), "name")
    machine = fleet.several([owner.owner]).get(owner.owner) if owner else None
    if machine is None:
        _refuse_the_removed(presented)
        return _join(body, _usable(body.token, now), now)
    digests = [tokens.digest(secret) for secret in presented]
    own = next((d for d in digests if tokens.is_own(machine.hot, d, now)), None)
    retired = any(tokens.was_retired(machine.hot, d) for d in digests)
    if own or (retired and _same_boot(machine.hot, body)) or _came_back(machine, body):
        return _return(machine, body, own or tokens.digest(body.token), now)
    if retired:
        raise superseded()
    token = _usable(body.token, now)
    if machine.online(now) or not token.takeover:
        raise ApiError(
            "WORKER_NAME_IN_USE",
            f"name: {body.name!r} is another worker's; take another, or while that one is offline a takeover token",
        )
    return _take_over(machine, body, token, now)


def superseded() -> ApiError:
    return ApiError("SESSION_SUPERSEDED", "a newer session of this worker registered; this one must rest")


def name_key(name: str) -> str:
    return "name#" + hashlib.sha256(name.encode()).hexdigest()


def _short(value: str | None) -> bytes | None:
    return hashlib.sha256(value.encode()).digest()[:16] if value else None


def _same_boot(hot: Hot, body: m.Registration) -> bool:
    """Whether this very boot registered last: its answer may have been lost, so that it knows only an older token."""
    boot = _short(body.boot_id)
    return boot is not None and hot.boot is not None and bytes(hot.boot) == boot


def _usable(secret: str, now: float) -> Credential:
    """A registration token that may let another worker in."""
    token = tokens.lookup(secret, "registration")
    if token is None or not tokens.usable(token, now):
        message = (
            "token: unknown, expired, revoked or used up; an operator makes one with POST /api/registration-tokens"
        )
        raise ApiError("UNAUTHENTICATED", message)
    return token


def _refuse_the_removed(presented: Iterable[str]) -> None:
    for secret in presented:
        worker_id = tokens.worker_named_by(secret)
        hot = find(Hot, worker_id) if worker_id else None
        if hot and hot.gone and tokens.was_retired(hot, tokens.digest(secret)):
            raise removed()


def removed() -> ApiError:
    return ApiError("WORKER_REMOVED", "an operator removed this worker; it may join again with a registration token")


def _came_back(machine: Machine, body: m.Registration) -> bool:
    """The same machine, with the registration token that the worker joined with, unless that was revoked."""
    token = tokens.lookup(body.token, "registration")
    if token is None or token.credential_id != machine.cold.join_token_id:
        return False
    if machine.cold.machine_id:
        return bool(machine.cold.machine_id == body.machine_id)
    return bool(machine.cold.hostname == body.system_info.hostname)


@dataclass(frozen=True)
class _Issue:
    """A fresh token for a worker, and the session that it belongs to."""

    worker_id: str
    token: str
    session: int


def _answer(issue: _Issue, hot_activity: float, message: str, now: float) -> m.Registered:
    wait = fleet.interval(hot_activity, now)
    return m.Registered(issue.worker_id, message, issue.token, issue.session, wait)


def _join(body: m.Registration, token: Credential, now: float) -> m.Registered:
    worker_id = str(uuid.uuid4())
    issue = _Issue(worker_id, tokens.new_secret("worker", worker_id), grow(0, now))
    hot = Hot(
        worker_id,
        digest=tokens.digest(issue.token),
        joined=tokens.digest(body.token),
        session=issue.session,
        boot=_short(body.boot_id),
        last_seen=now,
        status="online",
        interval=settings.HEARTBEAT,
        inbox=grow(0, now),
        ephemeral=token.ephemeral or None,
    )
    cold = Cold(
        worker_id,
        rank=body.name,
        name=body.name,
        labels=_json(body.labels or {}),
        address=body.address,
        join_token_id=token.credential_id,
        ephemeral=token.ephemeral,
        registered_at=now,
        hostname=body.system_info.hostname,
        machine_id=body.machine_id,
        retired_boots=_retired_boots(body) or None,
        agent_version=body.agent_version,
        gpu_info=_json(body.gpu_info),
        system_info=_json(body.system_info),
    )

    def build(transaction: TransactWrite) -> None:
        name = WorkerName(name_key(body.name), owner=worker_id)
        transaction.save(name, condition=WorkerName.key.does_not_exist())
        transaction.save(hot)
        transaction.save(cold)
        _use(transaction, token)

    transact(build)
    about = events.About(worker_id=worker_id, worker_name=body.name, token_id=token.credential_id)
    events.record(about, "joined", f"with token {token.name or token.credential_id}", f"worker {body.name}", now)
    return _answer(issue, 0, "Worker registered successfully", now)


def _use(transaction: TransactWrite, token: Credential) -> None:
    room = (Credential.uses < token.max_uses) & Credential.credential_id.exists()
    transaction.update(token, actions=[Credential.uses.add(1)], condition=room)


def _return(machine: Machine, body: m.Registration, by: bytes, now: float) -> m.Registered:
    """The same worker again: a lost response, a restart, a reboot."""
    hot, cold = machine.hot, machine.cold
    boot = _short(body.boot_id)
    if boot is not None and boot in _chunks(cold.retired_boots, 16):
        raise superseded()
    same_boot = _same_boot(hot, body)
    session = int(hot.session) if same_boot else grow(hot.session, now)
    issue = _Issue(machine.worker_id, tokens.new_secret("worker", machine.worker_id), session)
    actions: list[Action] = [
        *_renewal(issue, boot, now),
        Hot.previous.set(bytes(hot.digest)),
        Hot.used.set(_last_used(hot, now)),
        Hot.previous_until.set(now + GRACE),
        Hot.joined.set(by),
    ]
    if not same_boot:
        actions.append(Hot.retired.set(tokens.retire(hot, bytes(hot.digest))))
    transact(lambda t: _renew(t, machine, actions, _identity(cold, hot, body, same_boot)))
    if not same_boot:
        events.record(machine.about, "returned", "a new session", f"worker {cold.name}", now)
    inventory.record(machine.about, machine.gpu_info, body.gpu_info, now)
    return _answer(issue, float(hot.activity_at), "Worker registered again", now)


def _last_used(hot: Hot, now: float) -> bytes:
    """What the worker surely knows: the answers with the tokens issued since may all have been lost."""
    unused_since = hot.used is not None and (hot.previous_until or 0) > now
    return bytes(hot.used if unused_since else hot.digest)


def _take_over(machine: Machine, body: m.Registration, token: Credential, now: float) -> m.Registered:
    """Another machine gets the name. What ran on the old one is lost, and stays stopped until somebody starts it."""
    hot, cold = machine.hot, machine.cold
    issue = _Issue(machine.worker_id, tokens.new_secret("worker", machine.worker_id), grow(hot.session, now))
    actions: list[Action] = [
        *_renewal(issue, _short(body.boot_id), now),
        Hot.previous.remove(),
        Hot.used.remove(),
        Hot.previous_until.remove(),
        Hot.joined.set(tokens.digest(body.token)),
        Hot.retired.set(tokens.retire(hot, bytes(hot.digest))),
        Hot.journal.remove(),
        Hot.conditions.remove(),
        Hot.ephemeral.set(True) if token.ephemeral else Hot.ephemeral.remove(),
    ]
    identity: list[Action] = [
        *_identity(cold, hot, body, same_boot=False),
        Cold.join_token_id.set(token.credential_id),
        Cold.ephemeral.set(token.ephemeral),
    ]
    for slot in slots.of_worker(machine.worker_id)[0]:
        message = f"another machine took over the name {cold.name}"
        deployments.lose(slot.deployment_id, machine.worker_id, "WORKER_LOST", message, now, stop=True)

    def build(transaction: TransactWrite) -> None:
        _use(transaction, token)
        _renew(transaction, machine, actions, identity)
        transaction.delete(Conditions(machine.worker_id, part="conditions"))

    transact(build)
    events.record(machine.about, "taken_over", f"by {body.system_info.hostname}", f"worker {cold.name}", now)
    inventory.record(machine.about, machine.gpu_info, body.gpu_info, now)
    return _answer(issue, 0, "Worker registered in place of an offline one", now)


def _renewal(issue: _Issue, boot: bytes | None, now: float) -> list[Action]:
    return [
        Hot.digest.set(tokens.digest(issue.token)),
        Hot.session.set(issue.session),
        Hot.boot.set(boot) if boot else Hot.boot.remove(),
        Hot.last_seen.set(now),
        Hot.status.set("online"),
        Hot.interval.set(settings.HEARTBEAT),
        Hot.unsettled.set(True),
        Hot.lost.remove(),
    ]


def _renew(transaction: TransactWrite, machine: Machine, hot: list[Action], cold: list[Action]) -> None:
    """Both items, on condition that nobody registered or took over meanwhile."""
    before = (Hot.digest == bytes(machine.hot.digest)) & (Hot.session == machine.hot.session)
    transaction.update(machine.hot, actions=hot, condition=before & Hot.gone.does_not_exist())
    transaction.update(machine.cold, actions=cold, condition=Cold.name.exists())


def _identity(cold: Cold, hot: Hot, body: m.Registration, same_boot: bool) -> list[Action]:
    """What the machine says of itself now; what an operator set stays as the operator set it."""
    patched = msgspec.json.decode(cold.patched, type=list[str])
    actions: list[Action] = [
        Cold.hostname.set(body.system_info.hostname),
        Cold.machine_id.set(body.machine_id) if body.machine_id else Cold.machine_id.remove(),
        Cold.agent_version.set(body.agent_version) if body.agent_version else Cold.agent_version.remove(),
        Cold.gpu_info.set(_json(body.gpu_info)),
        Cold.system_info.set(_json(body.system_info)),
    ]
    if "labels" not in patched:
        actions.append(Cold.labels.set(_json(body.labels or {})))
    if "address" not in patched:
        actions.append(Cold.address.set(body.address) if body.address else Cold.address.remove())
    if not same_boot and (retired := _retired_boots(body, hot.boot, _chunks(cold.retired_boots, 16))):
        actions.append(Cold.retired_boots.set(retired))
    return actions


def _retired_boots(body: m.Registration, latest: bytes | None = None, before: Iterable[bytes] = ()) -> bytes:
    """Those that may not register any more, the latest first.

    A process may have been killed while its registration was on its way: its successor names it.
    """
    named = (_short(boot) for boot in body.past_boot_ids or ())
    ended = dict.fromkeys(bytes(boot) for boot in (latest, *named, *before) if boot)
    return b"".join([*ended][:RETIRED_BOOTS])


def _chunks(value: bytes | None, size: int) -> list[bytes]:
    packed = bytes(value or b"")
    return [packed[i : i + size] for i in range(0, len(packed), size)]


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
