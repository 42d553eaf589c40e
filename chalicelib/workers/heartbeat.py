"""A heartbeat: one conditional write, and reconciling the worker's slots only when there may be something to do.

The write stamps the worker, checks its token and its session, and returns the item. Reconciling follows when the
worker's inbox is behind, something is unsettled, what the worker reports changed, or every tenth heartbeat: the net
under a function that was killed between writing an intent and waking the worker. An idle heartbeat is the write alone.

The answer to an idle heartbeat has a digest of what was reconciled and of the inbox. A heartbeat that names the digest
need not repeat what was reconciled: it is the same write, whose answer shows whether the digest is still that of the
worker (ADR 43).
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import Literal, NamedTuple

import msgspec
from pynamodb.expressions.update import Action

from chalicelib.auth import provisional, refusals, tokens
from chalicelib.fleet import bounds, conditions, workers
from chalicelib.reconcile import reconciler, sending, worker_state
from chalicelib.store import settings
from chalicelib.store.items import find, retrying
from chalicelib.store.prepared_update import PreparedUpdate, parameter
from chalicelib.store.tables import WorkerHeartbeat
from muster.api import messages as m
from muster.api import usage
from muster.api.endpoints import BY_NAME

RECONCILE_EVERY_HEARTBEATS = 10
ENDPOINT = BY_NAME["heartbeat"]


_Bits = Literal["set", "remove", "keep"]
"""What the write of a heartbeat does with the stored conditions."""


class _Figures(NamedTuple):
    """What the write of a heartbeat stores. The write also checks the session."""

    status: str
    usage: bytes
    session: int | None
    conditions: bytes | None
    keeps_conditions: bool = False


def receive(worker_id: str, secret: str, body: m.Heartbeat, now: float) -> m.HeartbeatAnswer:
    """Raises UNAUTHENTICATED, SESSION_SUPERSEDED, WORKER_REMOVED, FORBIDDEN, INVALID_REQUEST."""
    heartbeat = WorkerHeartbeat(worker_id)
    waits = _stamp_or_wait(heartbeat, secret, _full_figures(body), now)
    if waits is not None:
        return m.HeartbeatAnswer([], 0, waits)
    fingerprint = _fingerprint(heartbeat, body)
    commands: list[m.Command] = []
    has_news = _has_news(heartbeat, body, fingerprint)
    if has_news or _is_tenth(heartbeat):
        commands = reconciler.reconcile_worker(heartbeat, body, fingerprint, now)
    answer = m.HeartbeatAnswer(commands, _inbox(heartbeat, body, len(commands)), _interval(heartbeat, now))
    if heartbeat.tunnels and (has_news or _is_tenth(heartbeat)):
        from chalicelib.gateways import worker_gateways  # which an idle heartbeat does not need

        answer.gateways = worker_gateways.of(worker_id, int(heartbeat.session), now)
    if not (has_news or commands or body.is_basic or _is_before_tenth(heartbeat)) and body.status == "online":
        answer.digest = _digest(heartbeat)
    return answer


def receive_short(worker_id: str, secret: str, body: m.ShortHeartbeat, now: float) -> m.ShortHeartbeatAnswer:
    """Raises UNAUTHENTICATED, SESSION_SUPERSEDED, WORKER_REMOVED, FORBIDDEN, INVALID_REQUEST."""
    heartbeat = WorkerHeartbeat(worker_id)
    waits = _stamp_or_wait(heartbeat, secret, _short_figures(body), now)
    if waits is not None:
        return m.ShortHeartbeatAnswer(waits, full=True)
    is_known = heartbeat.reconciled_digest is not None and body.unchanged == _digest(heartbeat)
    if not is_known or _is_disturbed(heartbeat) or heartbeat.drains or _is_tenth(heartbeat):
        return m.ShortHeartbeatAnswer(0, full=True)
    return m.ShortHeartbeatAnswer(_interval(heartbeat, now), full=_is_before_tenth(heartbeat))


def _stamp_or_wait(heartbeat: WorkerHeartbeat, secret: str, figures: _Figures, now: float) -> int | None:
    """Write the heartbeat. Returns None, or the seconds to wait for a client that is not the worker yet.

    Raises what `receive` raises.
    """
    presented = tokens.digest(secret)
    if not _stamp(heartbeat, presented, figures, now):
        _check_session(str(heartbeat.worker_id), presented, figures.session, now)
        waits: int | None = retrying(lambda: _kept_aside(heartbeat, secret, figures, now))
        if waits is not None:
            return waits
    tokens.first_use(heartbeat, presented)
    return None


def _has_news(heartbeat: WorkerHeartbeat, body: m.Heartbeat, fingerprint: bytes) -> bool:
    """Whether the worker's slots are to be read. `heartbeat` is as this heartbeat's write returned it."""
    return bool(
        (body.inbox is not None and body.inbox != heartbeat.inbox)
        or heartbeat.reconciled_digest is None
        or bytes(heartbeat.reconciled_digest) != fingerprint
        or body.acks
        or _is_disturbed(heartbeat)
        or worker_state.drain_changed(heartbeat, body)
    )


def _is_disturbed(heartbeat: WorkerHeartbeat) -> bool:
    """Whether the slots are to be read whatever the worker reports."""
    return bool(heartbeat.needs_reconcile or heartbeat.down_since is not None)


def _is_tenth(heartbeat: WorkerHeartbeat) -> bool:
    return bool(heartbeat.beats % RECONCILE_EVERY_HEARTBEATS == 0)


def _is_before_tenth(heartbeat: WorkerHeartbeat) -> bool:
    """Whether the next heartbeat is a tenth one, which has to be full."""
    return bool((heartbeat.beats + 1) % RECONCILE_EVERY_HEARTBEATS == 0)


def _interval(heartbeat: WorkerHeartbeat, now: float) -> int:
    return workers.interval(float(heartbeat.activity_at), now)


def _digest(heartbeat: WorkerHeartbeat) -> str:
    """What a short heartbeat refers to: the session, what was reconciled, and the inbox that the worker has."""
    assert heartbeat.reconciled_digest is not None
    known = f"{int(heartbeat.session)} {int(heartbeat.inbox)} ".encode() + bytes(heartbeat.reconciled_digest)
    return base64.urlsafe_b64encode(hashlib.sha256(known).digest()[:9]).decode()


def _inbox(heartbeat: WorkerHeartbeat, body: m.Heartbeat, sent: int) -> int:
    """What the worker has heard once it has these commands. After as many as one answer holds, there may be more.

    With the newer value, a journal that was lost or copied would no longer look like one that lacks the rest.
    """
    if sent >= sending.MAX_COMMANDS and body.inbox is not None:
        return min(body.inbox, int(heartbeat.inbox))
    return int(heartbeat.inbox)


def _full_figures(body: m.Heartbeat) -> _Figures:
    return _Figures(body.status, usage.pack(body), body.session, conditions.mask(body.conditions))


def _short_figures(body: m.ShortHeartbeat) -> _Figures:
    """Conditions stay as they are: those of the heartbeat that `unchanged` names."""
    return _Figures("online", body.usage, body.session, None, keeps_conditions=True)


def _stamp(heartbeat: WorkerHeartbeat, presented: bytes, figures: _Figures, now: float) -> bool:
    is_ahead = figures.session is not None and figures.session > bounds.latest(now)
    bits: _Bits = "keep" if figures.keeps_conditions else "set" if figures.conditions else "remove"
    return _stamping(bits, has_session=figures.session is not None, is_ahead=is_ahead).run(
        heartbeat,
        presented=presented,
        now=now,
        status=figures.status,
        interval=settings.HEARTBEAT,
        usage=figures.usage,
        conditions=figures.conditions,
        session=figures.session,
    )


@cache
def _stamping(bits: _Bits, *, has_session: bool, is_ahead: bool) -> PreparedUpdate:
    """The write of a heartbeat. `is_ahead`: the session is one that the clock does not allow yet."""
    presented, now = parameter(WorkerHeartbeat.digest, "presented"), parameter(WorkerHeartbeat.last_seen, "now")
    session = parameter(WorkerHeartbeat.session, "session")
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
    ]
    if bits == "set":
        actions.append(WorkerHeartbeat.conditions.set(parameter(WorkerHeartbeat.conditions, "conditions")))
    elif bits == "remove":
        actions.append(WorkerHeartbeat.conditions.remove())
    if has_session:
        may &= WorkerHeartbeat.session <= session
        actions.append(WorkerHeartbeat.session.set(session))
    if is_ahead:  # then at most the stored one
        may &= WorkerHeartbeat.session >= session
    return PreparedUpdate(actions, may)


def _check_session(worker_id: str, presented: bytes, session: int | None, now: float) -> None:
    """Why the write failed, if it was for a session from the future. Raises INVALID_REQUEST."""
    heartbeat = find(WorkerHeartbeat, worker_id) if (session or 0) > bounds.latest(now) else None
    if heartbeat is not None and tokens.opens(heartbeat, presented, now):
        bounds.check("session", session, heartbeat.session, now)


def _kept_aside(heartbeat: WorkerHeartbeat, secret: str, figures: _Figures, now: float) -> int | None:
    """The seconds to wait for a client that registered while the worker was online; None if it is the worker now.

    Raises TransactionConflict, and what `receive` raises.
    """
    presented = tokens.digest(secret)
    waiting = provisional.waiting(heartbeat.worker_id, presented)
    if waiting is not None and not tokens.opens(waiting.worker.heartbeat, presented, now):
        if waiting.ended:
            raise refusals.superseded()
        if waiting.worker.online(now):
            return waiting.pause(now)
        from chalicelib.workers import registration  # rarely needed, with six modules more

        registration.promote(waiting, presented, now)
    owner = find(WorkerHeartbeat, heartbeat.worker_id)
    if owner is None or not tokens.opens(owner, presented, now) or not _stamp(heartbeat, presented, figures, now):
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
