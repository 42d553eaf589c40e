"""A heartbeat: one conditional write, and reconciling the worker's slots only when there may be something to do.

The write stamps the worker, checks its token and its session, and returns the item. Reconciling follows when the
worker's inbox is behind, something is unsettled, what the worker reports changed, or every tenth heartbeat: the net
under a function that was killed between writing an intent and waking the worker. An idle heartbeat is the write alone.
"""

from __future__ import annotations

import hashlib

import msgspec
from pynamodb.expressions.update import Action

from chalicelib.auth import provisional, refusals, tokens
from chalicelib.fleet import bounds, conditions, workers
from chalicelib.reconcile import reconciler, sending, worker_state
from chalicelib.store import settings, usage
from chalicelib.store.items import find, retrying, update_if
from chalicelib.store.tables import Hot
from chalicelib.workers import registration
from muster.api import messages as m
from muster.api.endpoints import BY_NAME

RECONCILE_EVERY_HEARTBEATS = 10
ENDPOINT = BY_NAME["heartbeat"]


def heartbeat(worker_id: str, secret: str, body: m.Heartbeat, now: float) -> m.HeartbeatAnswer:
    """Raises UNAUTHENTICATED, SESSION_SUPERSEDED, WORKER_REMOVED, FORBIDDEN, INVALID_REQUEST."""
    presented = tokens.digest(secret)
    hot = Hot(worker_id)
    if not _stamp(hot, presented, body, now):
        _check_session(worker_id, presented, body, now)
        waits: m.HeartbeatAnswer | None = retrying(lambda: _kept_aside(hot, secret, body, now))
        if waits is not None:
            return waits
    tokens.first_use(hot, presented)
    fingerprint = _fingerprint(hot, body)
    commands: list[m.Command] = []
    if _needs_reconcile(hot, body, fingerprint):
        commands = reconciler.reconcile_worker(hot, body, fingerprint, now)
    wait = workers.interval(float(hot.activity_at), now)
    return m.HeartbeatAnswer(commands, _inbox(hot, body, len(commands)), wait)


def _needs_reconcile(hot: Hot, body: m.Heartbeat, fingerprint: bytes) -> bool:
    """Whether the worker's slots are to be read. `hot` is as this heartbeat's write returned it."""
    return bool(
        (body.inbox is not None and body.inbox != hot.inbox)
        or hot.looked is None
        or bytes(hot.looked) != fingerprint
        or body.acks
        or hot.unsettled
        or hot.down_since is not None
        or worker_state.drain_changed(hot, body)
        or hot.beats % RECONCILE_EVERY_HEARTBEATS == 0
    )


def _inbox(hot: Hot, body: m.Heartbeat, sent: int) -> int:
    """What the worker has heard once it has these commands. After as many as one answer holds, there may be more.

    With the newer value, a journal that was lost or copied would no longer look like one that lacks the rest.
    """
    if sent >= sending.MAX_COMMANDS and body.inbox is not None:
        return min(body.inbox, int(hot.inbox))
    return int(hot.inbox)


def _stamp(hot: Hot, presented: bytes, body: m.Heartbeat, now: float) -> bool:
    is_current = Hot.digest == presented
    is_one_before_in_grace = ((Hot.previous == presented) | (Hot.used == presented)) & (Hot.previous_until > now)
    is_what_it_joined_with = Hot.joined == presented
    may = (is_current | is_one_before_in_grace | is_what_it_joined_with) & Hot.gone.does_not_exist()
    bits = conditions.mask(body.conditions)
    actions: list[Action] = [
        Hot.last_seen.set(now),
        Hot.status.set(body.status),
        Hot.interval.set(settings.HEARTBEAT),
        Hot.activity_before.remove(),
        Hot.beats.add(1),
        Hot.usage.set(usage.pack(body)),
        Hot.usage_before.remove(),
        Hot.conditions.set(bits) if bits else Hot.conditions.remove(),
    ]
    if body.session is not None:
        may &= Hot.session <= body.session
        if body.session > bounds.latest(now):  # then at most the stored one
            may &= Hot.session >= body.session
        actions.append(Hot.session.set(body.session))
    return update_if(hot, actions, may)


def _check_session(worker_id: str, presented: bytes, body: m.Heartbeat, now: float) -> None:
    """Why the write failed, if it was for a session from the future. Raises INVALID_REQUEST."""
    hot = find(Hot, worker_id) if (body.session or 0) > bounds.latest(now) else None
    if hot is not None and tokens.opens(hot, presented, now):
        bounds.check("session", body.session, hot.session, now)


def _kept_aside(hot: Hot, secret: str, body: m.Heartbeat, now: float) -> m.HeartbeatAnswer | None:
    """What a client gets that registered while the worker was online; None where it is the worker now, and stamped.

    Raises Refused, and what `heartbeat` raises.
    """
    presented = tokens.digest(secret)
    waiting = provisional.waiting(hot.worker_id, presented)
    if waiting is not None and not tokens.opens(waiting.machine.hot, presented, now):
        if waiting.ended:
            raise refusals.superseded()
        if waiting.machine.online(now):
            return m.HeartbeatAnswer([], 0, waiting.pause(now))
        registration.promote(waiting, presented, now)
    owner = find(Hot, hot.worker_id)
    if owner is None or not tokens.opens(owner, presented, now) or not _stamp(hot, presented, body, now):
        raise refusals.explain(secret, ENDPOINT, hot.worker_id, now)
    return None


def _fingerprint(hot: Hot, body: m.Heartbeat) -> bytes:
    """The digest of everything that the worker reports and that reconciling acts upon."""
    said: list[object] = [int(hot.session), body.journal_id, sorted(set(body.active_deployments)), body.images]
    said += [body.disk.paths] if body.disk and body.disk.paths else []
    said += conditions.scopes(body.conditions)
    said += [body.gpu_info] if body.gpu_info else []
    said += [body.orphans] if body.orphans else []
    said += [{"pending": sorted(set(body.pending_deployments))}] if body.pending_deployments else []
    return hashlib.sha256(msgspec.json.encode(said)).digest()[:8]
