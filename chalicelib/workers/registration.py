"""How a host becomes a worker, comes back as the same one, or takes the name of one that is gone.

name unknown ── registration token good ──────────────────────────────► a new worker, one use of the token
name known ──┬─ admission.py's rules i to v ──────────────────────────► the same worker; a fresh token; a new session
             │                                                          unless boot_id says that it is the same boot
             ├─ rule vi: a basic client, and the worker is online ────► kept aside until the worker's silence decides
             ├─ another registration token, worker offline, takeover ─► the name changes hands
             └─ otherwise ────────────────────────────────────────────► WORKER_NAME_IN_USE, while the worker is online
                                                                        with Retry-After
"""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Callable, Iterable

import msgspec
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action
from pynamodb.transactions import TransactWrite

from chalicelib.auth import provisional, refusals, tokens
from chalicelib.deployments import losses
from chalicelib.fleet import address_claims, capacity, join_refusals, workers
from chalicelib.fleet.workers import Worker
from chalicelib.gateways import worker_gateways
from chalicelib.scheduling import gpu_inventory, scheduler
from chalicelib.store import events, settings, slots
from chalicelib.store.items import TransactionConflict, find, grow, retrying, transact
from chalicelib.store.tables import Conditions, Credential, Provisional, WorkerHeartbeat, WorkerName, WorkerRecord
from chalicelib.workers import admission
from chalicelib.workers.admission import Request, Rule, retired_boots, same_boot, short
from muster.api import messages as m
from muster.api.errors import ApiError
from muster.api.resolving import Resolve, resolve
from muster.api.structs import Value

TOKEN_GRACE_SECONDS = 600.0
"""Seconds for which the token before stays good while the new one was not used."""
MAX_RETIRED_BOOTS = 16


def register(body: m.Registration, bearer: str | None, now: float, resolve: Resolve = resolve) -> m.Registered:
    """Raises UNAUTHENTICATED, WORKER_NAME_IN_USE, SESSION_SUPERSEDED, WORKER_REMOVED; for an address that no worker may
    have, INVALID_REQUEST.
    """
    address_claims.refuse(body.address)
    answer: m.Registered = retrying(lambda: _attempt(body, bearer, now))
    address_claims.note(answer.worker_id, now, resolve)
    scheduler.place_waiting(now, on=answer.worker_id)
    return answer


def _attempt(body: m.Registration, bearer: str | None, now: float) -> m.Registered:
    owner = find(WorkerName, name_key(body.name), "name")
    worker = workers.several([owner.owner]).get(owner.owner) if owner else None
    if worker is None:
        _refuse_the_removed(secret for secret in (bearer, body.token) if secret)
        return _join(body, _usable(body.token, now), now)
    token = tokens.lookup(body.token, "registration")
    request = Request(body, bearer, None if token is None or token.revoked else token)
    match rule := admission.rule(worker, request, now):
        case Rule.REFUSED:
            return _refused(worker, request, now)
        case Rule.PROVISIONAL:
            return _keep_aside(worker, body, request.token, now)
    session = (
        int(worker.heartbeat.session) if same_boot(worker.heartbeat, body) else grow(worker.heartbeat.session, now)
    )
    own = request.own(worker.heartbeat, now)
    basis = _Basis(own or tokens.digest(body.token), None if own else request.token, rule.rests_on_silence)
    issue = _Issue.fresh(worker.worker_id, session)
    _return(worker, body, issue, basis, now)
    return _answer(issue, float(worker.heartbeat.activity_at), "Worker registered again", now, body)


def _refused(worker: Worker, request: Request, now: float) -> m.Registered:
    """No rule lets it be this worker: it may take the name of an offline one over, or is told when to ask again."""
    if request.is_of_the_past(worker):
        raise refusals.superseded()
    body = request.body
    if not worker.online(now):
        token = _usable(body.token, now)
        if not token.takeover:
            raise ApiError(
                "WORKER_NAME_IN_USE",
                f"name: {body.name!r} is another worker's, which is offline; take another, or a takeover token",
            )
        return _take_over(worker, body, token, now)
    if not request.joined_with(worker.record):
        _usable(body.token, now)
    wait = max(1, math.floor(workers.online_until(worker.heartbeat) - now) + 1)
    hostname = body.system_info.hostname
    join_refusals.note(worker, "join_refused", hostname, "the worker is online, so it was refused", now)
    raise ApiError(
        "WORKER_NAME_IN_USE",
        f"name: {body.name!r} is a worker that is online; take another name, or ask again when it is offline,"
        f" in {wait} s at the earliest",
        retry_after=wait,
    )


def name_key(name: str) -> str:
    return "name#" + hashlib.sha256(name.encode()).hexdigest()


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
        heartbeat = find(WorkerHeartbeat, worker_id) if worker_id else None
        if heartbeat and heartbeat.gone and tokens.was_retired(heartbeat, tokens.digest(secret)):
            raise refusals.removed()


class _Issue(Value, frozen=True):
    """A token for a worker, and the session that it belongs to. `secret` is empty where the client has it already."""

    worker_id: str
    secret: str
    digest: bytes
    session: int

    @classmethod
    def fresh(cls, worker_id: str, session: int) -> _Issue:
        secret = tokens.new_secret("worker", worker_id)
        return cls(worker_id, secret, tokens.digest(secret), session)


class _Basis(Value, frozen=True):
    """What lets a client be a worker again: the digest `by` of what it presented, and where that is a registration
    token, `token`. `silence`: the worker must not have been heard of since it was read."""

    by: bytes
    token: Credential | None
    silence: bool


def _answer(issue: _Issue, activity_at: float, message: str, now: float, body: m.Registration) -> m.Registered:
    answer = m.Registered(issue.worker_id, message, issue.secret, issue.session, workers.interval(activity_at, now))
    if _tunnels(body):
        answer.gateways = worker_gateways.of(issue.worker_id, issue.session, now)
    return answer


def _tunnels(body: m.Registration) -> bool:
    """Whether the worker serves models through tunnels."""
    return m.TUNNEL in (body.features or ())


def _join(body: m.Registration, token: Credential, now: float) -> m.Registered:
    worker_id = str(uuid.uuid4())
    issue = _Issue.fresh(worker_id, grow(0, now))
    heartbeat = WorkerHeartbeat(
        worker_id,
        digest=issue.digest,
        joined=tokens.digest(body.token),
        session=issue.session,
        boot=short(body.boot_id),
        last_seen=now,
        status="online",
        interval=settings.HEARTBEAT,
        inbox=grow(0, now),
        ephemeral=token.ephemeral or None,
        tunnels=_tunnels(body) or None,
    )
    record = WorkerRecord(
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
    capacity.fill_in(record)

    def build(transaction: TransactWrite) -> None:
        name = WorkerName(name_key(body.name), owner=worker_id)
        transaction.save(name, condition=WorkerName.key.does_not_exist())
        transaction.save(heartbeat)
        transaction.save(record)
        _use(transaction, token)

    transact(build)
    about = events.About(worker_id=worker_id, worker_name=body.name, token_id=token.credential_id)
    events.record(about, "joined", f"with token {token.name or token.credential_id}", f"worker {body.name}", now)
    return _answer(issue, 0, "Worker registered successfully", now, body)


def _use(transaction: TransactWrite, token: Credential) -> None:
    room = (Credential.uses < token.max_uses) & tokens.NOT_REVOKED
    transaction.update(token, actions=[Credential.uses.add(1)], condition=room)


def _return(
    worker: Worker,
    body: m.Registration,
    issue: _Issue,
    basis: _Basis,
    now: float,
    also: Callable[[TransactWrite], object] = lambda transaction: None,
) -> None:
    """The same worker again: a lost response, a restart, a reboot. `also`: what else is in the transaction."""
    heartbeat, record = worker.heartbeat, worker.record
    boot = short(body.boot_id)
    if boot is not None and boot in retired_boots(record):
        raise refusals.superseded()
    is_same_boot = same_boot(heartbeat, body)
    actions: list[Action] = [
        *_renewal(issue, body, now),
        WorkerHeartbeat.previous.set(bytes(heartbeat.digest)),
        WorkerHeartbeat.used.set(_last_used(heartbeat, now)),
        WorkerHeartbeat.previous_until.set(now + TOKEN_GRACE_SECONDS),
        WorkerHeartbeat.joined.set(basis.by),
    ]
    if not is_same_boot:
        actions += [
            WorkerHeartbeat.retired.set(tokens.retire(heartbeat, bytes(heartbeat.digest))),
            WorkerHeartbeat.beats.set(0),
        ]

    def build(transaction: TransactWrite) -> None:
        silence = _unheard(worker) if basis.silence else None
        _renew(transaction, worker, actions, _identity(record, heartbeat, body, is_same_boot), silence)
        if basis.token is not None:
            _check(transaction, basis.token)
        also(transaction)

    transact(build)
    if not is_same_boot:
        events.record(worker.about, "returned", "a new session", f"worker {record.name}", now)
    gpu_inventory.record(worker.about, worker.gpu_info, body.gpu_info, now)


def _check(transaction: TransactWrite, token: Credential) -> None:
    """A revocation that began since the token was read must not miss what this transaction writes."""
    transaction.condition_check(Credential, token.credential_id, condition=tokens.NOT_REVOKED)


def _unheard(worker: Worker) -> Condition:
    """That the worker sent no heartbeat since it was read."""
    return WorkerHeartbeat.last_seen == worker.heartbeat.last_seen


def _keep_aside(worker: Worker, body: m.Registration, token: Credential | None, now: float) -> m.Registered:
    """The worker is online, and this may be it: what it does counts from when the worker is silent (provisional.py)."""
    issue = _Issue.fresh(worker.worker_id, grow(worker.heartbeat.session, now))
    item, before = provisional.keep(worker, body, issue.secret, issue.session, now)
    unchanged = Provisional.digest == before if before else Provisional.worker_id.does_not_exist()

    def build(transaction: TransactWrite) -> None:
        transaction.save(item, condition=unchanged)
        if token is not None:
            _check(transaction, token)

    transact(build)
    hostname = body.system_info.hostname
    join_refusals.note(worker, "join_provisional", hostname, "it gets no commands unless the worker falls silent", now)
    wait = provisional.pause(worker.heartbeat, now)
    message = "Worker registered provisionally: it is online already, and gets commands here when it is silent"
    return m.Registered(issue.worker_id, message, issue.secret, issue.session, wait)


def promote(waiting: provisional.Waiting, presented: bytes, now: float) -> None:
    """Make a client that was kept aside the worker, which is silent. Raises TransactionConflict if it is not."""
    kept = waiting.kept
    by = bytes(kept.by)
    digest = bytes(kept.digest) if presented == by else presented
    issue = _Issue(waiting.worker.worker_id, "", digest, int(kept.issued))

    def end(transaction: TransactWrite) -> None:
        transaction.delete(kept, condition=Provisional.digest == bytes(kept.digest))

    _return(waiting.worker, waiting.body, issue, _Basis(by, waiting.token, silence=True), now, end)
    address_claims.note(waiting.worker.worker_id, now, resolve)
    scheduler.place_waiting(now, on=waiting.worker.worker_id)


def _last_used(heartbeat: WorkerHeartbeat, now: float) -> bytes:
    """What the worker surely knows: the answers with the tokens issued since may all have been lost."""
    unused_since = heartbeat.used is not None and (heartbeat.previous_until or 0) > now
    return bytes(heartbeat.used if unused_since else heartbeat.digest)


def _take_over(worker: Worker, body: m.Registration, token: Credential, now: float) -> m.Registered:
    """Another machine gets the name. What ran on the old one is lost, and stays stopped until somebody starts it."""
    loss = losses.Loss(worker.worker_id, "WORKER_LOST", f"another machine took over the name {worker.record.name}")
    for slot in slots.of_worker(worker.worker_id)[0]:
        losses.mark_lost_and_stop(slot.deployment_id, loss, now)
    record = find(WorkerRecord, worker.worker_id, "cold")  # a loss may have freed GPUs
    if record is None:
        raise TransactionConflict
    worker = Worker(record, worker.heartbeat)
    heartbeat = worker.heartbeat
    issue = _Issue.fresh(worker.worker_id, grow(heartbeat.session, now))
    actions: list[Action] = [
        *_renewal(issue, body, now),
        WorkerHeartbeat.beats.set(0),
        WorkerHeartbeat.previous.remove(),
        WorkerHeartbeat.used.remove(),
        WorkerHeartbeat.previous_until.remove(),
        WorkerHeartbeat.joined.set(tokens.digest(body.token)),
        WorkerHeartbeat.retired.set(tokens.retire(heartbeat, bytes(heartbeat.digest))),
        WorkerHeartbeat.journal.remove(),
        WorkerHeartbeat.conditions.remove(),
        WorkerHeartbeat.ephemeral.set(True) if token.ephemeral else WorkerHeartbeat.ephemeral.remove(),
    ]
    identity: list[Action] = [
        *_identity(record, heartbeat, body, is_same_boot=False),
        WorkerRecord.join_token_id.set(token.credential_id),
        WorkerRecord.ephemeral.set(token.ephemeral),
    ]

    def build(transaction: TransactWrite) -> None:
        _use(transaction, token)
        _renew(transaction, worker, actions, identity)  # not on silence: what was lost for it stays lost
        transaction.delete(Conditions(worker.worker_id, part="conditions"))

    transact(build)
    events.record(worker.about, "taken_over", f"by {body.system_info.hostname}", f"worker {record.name}", now)
    gpu_inventory.record(worker.about, worker.gpu_info, body.gpu_info, now)
    return _answer(issue, 0, "Worker registered in place of an offline one", now, body)


def _renewal(issue: _Issue, body: m.Registration, now: float) -> list[Action]:
    boot = short(body.boot_id)
    return [
        WorkerHeartbeat.tunnels.set(True) if _tunnels(body) else WorkerHeartbeat.tunnels.remove(),
        WorkerHeartbeat.digest.set(issue.digest),
        WorkerHeartbeat.session.set(issue.session),
        WorkerHeartbeat.boot.set(boot) if boot else WorkerHeartbeat.boot.remove(),
        WorkerHeartbeat.last_seen.set(now),
        WorkerHeartbeat.status.set("online"),
        WorkerHeartbeat.interval.set(settings.HEARTBEAT),
        WorkerHeartbeat.needs_reconcile.set(True),
        WorkerHeartbeat.lost.remove(),
    ]


def _renew(
    transaction: TransactWrite,
    worker: Worker,
    heartbeat: list[Action],
    record: list[Action],
    also: Condition | None = None,
) -> None:
    """Both items, on condition that nobody registered or took over meanwhile, and on what else the rule needs."""
    before = (WorkerHeartbeat.digest == bytes(worker.heartbeat.digest)) & (
        WorkerHeartbeat.session == worker.heartbeat.session
    )
    if also is not None:
        before &= also
    transaction.update(worker.heartbeat, actions=heartbeat, condition=before & WorkerHeartbeat.gone.does_not_exist())
    as_read = capacity.unchanged(worker.record)
    transaction.update(worker.record, actions=record, condition=WorkerRecord.name.exists() & as_read)


def _identity(
    record: WorkerRecord, heartbeat: WorkerHeartbeat, body: m.Registration, is_same_boot: bool
) -> list[Action]:
    """What the machine says of itself now; what an operator set stays as the operator set it."""
    patched = msgspec.json.decode(record.patched, type=list[str])
    actions: list[Action] = [
        WorkerRecord.hostname.set(body.system_info.hostname),
        WorkerRecord.machine_id.set(body.machine_id) if body.machine_id else WorkerRecord.machine_id.remove(),
        WorkerRecord.agent_version.set(body.agent_version)
        if body.agent_version
        else WorkerRecord.agent_version.remove(),
        *capacity.changed(record, gpu_info=_json(body.gpu_info)),
        WorkerRecord.system_info.set(_json(body.system_info)),
    ]
    if "labels" not in patched:
        actions.append(WorkerRecord.labels.set(_json(body.labels or {})))
    if "address" not in patched:
        actions.append(WorkerRecord.address.set(body.address) if body.address else WorkerRecord.address.remove())
    if not is_same_boot and (retired := _retired_boots(body, heartbeat.boot, retired_boots(record))):
        actions.append(WorkerRecord.retired_boots.set(retired))
    return actions


def _retired_boots(body: m.Registration, latest: bytes | None = None, before: Iterable[bytes] = ()) -> bytes:
    """Those that may not register any more, the latest first.

    A process may have been killed while its registration was on its way: its successor names it.
    """
    named = (short(boot) for boot in body.past_boot_ids or ())
    ended = dict.fromkeys(bytes(boot) for boot in (latest, *named, *before) if boot)
    return b"".join([*ended][:MAX_RETIRED_BOOTS])


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
