"""A heartbeat: one conditional write, and reconciling the worker's slots only when there may be something to do.

The write stamps the worker, checks its token and its session, and returns the item. Reconciling follows when the
worker's inbox is behind, something is unsettled, what the worker reports changed, or every tenth heartbeat: the net
under a function that was killed between writing an intent and waking the worker. An idle heartbeat is the write alone.
"""

from __future__ import annotations

import hashlib
from functools import cache

import msgspec
from pynamodb.expressions.update import Action

from chalicelib.auth import provisional, refusals, tokens
from chalicelib.fleet import bounds, conditions, workers
from chalicelib.reconcile import reconciler, sending, worker_state
from chalicelib.store import settings, usage
from chalicelib.store.items import find, retrying
from chalicelib.store.prepared_update import PreparedUpdate, parameter
from chalicelib.store.tables import WorkerHeartbeat
from muster.api import messages as m
from muster.api.endpoints import BY_NAME

RECONCILE_EVERY_HEARTBEATS = 10
ENDPOINT = BY_NAME["heartbeat"]


def receive(worker_id: str, secret: str, body: m.Heartbeat, now: float) -> m.HeartbeatAnswer:
    """Raises UNAUTHENTICATED, SESSION_SUPERSEDED, WORKER_REMOVED, FORBIDDEN, INVALID_REQUEST."""
    presented = tokens.digest(secret)
    heartbeat = WorkerHeartbeat(worker_id)
    if not _stamp(heartbeat, presented, body, now):
        _check_session(worker_id, presented, body, now)
        waits: m.HeartbeatAnswer | None = retrying(lambda: _kept_aside(heartbeat, secret, body, now))
        if waits is not None:
            return waits
    tokens.first_use(heartbeat, presented)
    fingerprint = _fingerprint(heartbeat, body)
    commands: list[m.Command] = []
    if _needs_reconcile(heartbeat, body, fingerprint):
        commands = reconciler.reconcile_worker(heartbeat, body, fingerprint, now)
    wait = workers.interval(float(heartbeat.activity_at), now)
    return m.HeartbeatAnswer(commands, _inbox(heartbeat, body, len(commands)), wait)


def _needs_reconcile(heartbeat: WorkerHeartbeat, body: m.Heartbeat, fingerprint: bytes) -> bool:
    """Whether the worker's slots are to be read. `heartbeat` is as this heartbeat's write returned it."""
    return bool(
        (body.inbox is not None and body.inbox != heartbeat.inbox)
        or heartbeat.reconciled_digest is None
        or bytes(heartbeat.reconciled_digest) != fingerprint
        or body.acks
        or heartbeat.needs_reconcile
        or heartbeat.down_since is not None
        or worker_state.drain_changed(heartbeat, body)
        or heartbeat.beats % RECONCILE_EVERY_HEARTBEATS == 0
    )


def _inbox(heartbeat: WorkerHeartbeat, body: m.Heartbeat, sent: int) -> int:
    """What the worker has heard once it has these commands. After as many as one answer holds, there may be more.

    With the newer value, a journal that was lost or copied would no longer look like one that lacks the rest.
    """
    if sent >= sending.MAX_COMMANDS and body.inbox is not None:
        return min(body.inbox, int(heartbeat.inbox))
    return int(heartbeat.inbox)


def _stamp(heartbeat: WorkerHeartbeat, presented: bytes, body: m.Heartbeat, now: float) -> bool:
    bits = conditions.mask(body.conditions)
    is_ahead = body.session is not None and body.session > bounds.latest(now)
    return _stamping(has_conditions=bool(bits), has_session=body.session is not None, is_ahead=is_ahead).run(
        heartbeat,
        presented=presented,
        now=now,
        status=body.status,
        interval=settings.HEARTBEAT,
        usage=usage.pack(body),
        conditions=bits,
        session=body.session,
    )


@cache
def _stamping(*, has_conditions: bool, has_session: bool, is_ahead: bool) -> PreparedUpdate:
    """The write of a heartbeat. `is_ahead`: the session is one that the clock does not allow yet."""
    presented, now = parameter(WorkerHeartbeat.digest, "presented"), parameter(WorkerHeartbeat.last_seen, "now")
    session, bits = parameter(WorkerHeartbeat.session, "session"), parameter(WorkerHeartbeat.conditions, "conditions")
    is_current = WorkerHeartbeat.digest == presented
    is_one_before_in_grace = ((WorkerHeartbeat.previous == presented) | (WorkerHeartbeat.used == presented)) & (
        WorkerHeartbeat.previous_until > now
    )
    is_what_it_joined_with = WorkerHeartbeat.joined == presented
    may = (is_current | is_one_before_in_grace | is_what_it_joined_with) & WorkerHeartbeat.gone.does_not_exist()
    actions: list[Action] = [
        WorkerHeartbeat.last_seen.set(now),
        WorkerHeartbeat.status.set(parameter(WorkerHeartbeat.status, "status")),
        WorkerHeartbeat.interval.set(parameter(WorkerHeartbeat.interval, "interval")),
        WorkerHeartbeat.activity_before.remove(),
        WorkerHeartbeat.beats.add(1),
        WorkerHeartbeat.usage.set(parameter(WorkerHeartbeat.usage, "usage")),
        WorkerHeartbeat.usage_before.remove(),
        WorkerHeartbeat.conditions.set(bits) if has_conditions else WorkerHeartbeat.conditions.remove(),
    ]
    if has_session:
        may &= WorkerHeartbeat.session <= session
        actions.append(WorkerHeartbeat.session.set(session))
    if is_ahead:  # then at most the stored one
        may &= WorkerHeartbeat.session >= session
    return PreparedUpdate(actions, may)


def _check_session(worker_id: str, presented: bytes, body: m.Heartbeat, now: float) -> None:
    """Why the write failed, if it was for a session from the future. Raises INVALID_REQUEST."""
    heartbeat = find(WorkerHeartbeat, worker_id) if (body.session or 0) > bounds.latest(now) else None
    if heartbeat is not None and tokens.opens(heartbeat, presented, now):
        bounds.check("session", body.session, heartbeat.session, now)


def _kept_aside(heartbeat: WorkerHeartbeat, secret: str, body: m.Heartbeat, now: float) -> m.HeartbeatAnswer | None:
    """What a client gets that registered while the worker was online; None where it is the worker now, and stamped.

    Raises TransactionConflict, and what `receive` raises.
    """
    presented = tokens.digest(secret)
    waiting = provisional.waiting(heartbeat.worker_id, presented)
    if waiting is not None and not tokens.opens(waiting.worker.heartbeat, presented, now):
        if waiting.ended:
            raise refusals.superseded()
        if waiting.worker.online(now):
            return m.HeartbeatAnswer([], 0, waiting.pause(now))
        from chalicelib.workers import registration  # rarely needed, with six modules more

        registration.promote(waiting, presented, now)
    owner = find(WorkerHeartbeat, heartbeat.worker_id)
    if owner is None or not tokens.opens(owner, presented, now) or not _stamp(heartbeat, presented, body, now):
        raise refusals.explain(secret, ENDPOINT, heartbeat.worker_id, now)
    return None


def _fingerprint(heartbeat: WorkerHeartbeat, body: m.Heartbeat) -> bytes:
    """The digest of everything that the worker reports and that reconciling acts upon."""
    said: list[object] = [int(heartbeat.session), body.journal_id, sorted(set(body.active_deployments)), body.images]
    said += [body.disk.paths] if body.disk and body.disk.paths else []
    said += conditions.scopes(body.conditions)
    said += [body.gpu_info] if body.gpu_info else []
    said += [body.orphans] if body.orphans else []
    said += [{"pending": sorted(set(body.pending_deployments))}] if body.pending_deployments else []
    return hashlib.sha256(msgspec.json.encode(said)).digest()[:8]
