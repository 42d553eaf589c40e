"""A registration kept aside: a basic client with a token of many hosts registered while the worker was online.

It may be the worker itself, which crashed and started again, or another host. The worker's silence decides:

    a heartbeat of the worker more than 10 s after the registration ──► ended: 409
    until the worker is offline ────────────────────────────────────► waits: no commands, reports change nothing
    the worker is offline, and sent no such heartbeat ───────────────► due: the client's next heartbeat promotes it

All of that follows from the worker's `last_seen` when the client calls, and nothing is written until a promotion. The
item lies beside the worker, not in what heartbeats write, so that the worker's own heartbeats cost nothing more.
"""

from __future__ import annotations

import hmac
import math
import zlib

import msgspec

from chalicelib.auth import refusals, tokens
from chalicelib.fleet import workers
from chalicelib.fleet.workers import Worker
from chalicelib.store import settings
from chalicelib.store.items import find
from chalicelib.store.tables import Credential, Provisional, WorkerHeartbeat
from muster.api import messages as m
from muster.api.structs import Value

IN_FLIGHT_SECONDS = 10.0
"""Seconds in which a heartbeat of the process that crashed may still arrive."""


class Waiting(Value, frozen=True):
    """A kept registration that a presented credential belongs to, with the worker and the token as they are now."""

    kept: Provisional
    worker: Worker
    token: Credential

    @property
    def ended(self) -> bool:
        """Whether the worker sent a heartbeat since, or registered: then it lives, and this is another client."""
        heartbeat = self.worker.heartbeat
        return bool(heartbeat.session != self.kept.session or heartbeat.last_seen > self.kept.at + IN_FLIGHT_SECONDS)

    @property
    def body(self) -> m.Registration:
        return msgspec.json.decode(zlib.decompress(bytes(self.kept.body)), type=m.Registration)

    def pause(self, now: float) -> int:
        return pause(self.worker.heartbeat, now)


def keep(worker: Worker, body: m.Registration, secret: str, session: int, now: float) -> tuple[Provisional, bytes]:
    """The item to store, and the digest of the one that it replaces (empty: none)."""
    before = find(Provisional, worker.worker_id, Provisional.PART)
    item = Provisional(
        worker.worker_id,
        digest=tokens.digest(secret),
        by=tokens.digest(body.token),
        token_id=tokens.credential_id(body.token),
        session=int(worker.heartbeat.session),
        issued=session,
        at=now,
        body=zlib.compress(msgspec.json.encode(body)),
    )
    if before is not None and before.session == worker.heartbeat.session:
        item.previous = bytes(before.digest)  # the response that brought the later token may have been lost
    return item, bytes(before.digest) if before is not None else b""


def waiting(worker_id: str, presented: bytes) -> Waiting | None:
    """The kept registration that `presented` belongs to: an issued token, or the token that it registered with.

    None also where the registration token was revoked, or the worker removed.
    """
    kept = find(Provisional, worker_id, Provisional.PART)
    if kept is None or not any(_same(digest, presented) for digest in (kept.digest, kept.previous, kept.by)):
        return None
    token = find(Credential, kept.token_id)
    worker = workers.several([worker_id]).get(worker_id)
    if token is None or token.revoked or worker is None:
        return None
    return Waiting(kept, worker, token)


def waits(worker_id: str, presented: bytes) -> bool:
    """Whether `presented` belongs to a kept registration. Raises SESSION_SUPERSEDED where that has ended."""
    found = waiting(worker_id, presented)
    if found is not None and found.ended:
        raise refusals.superseded()
    return found is not None


def pause(heartbeat: WorkerHeartbeat, now: float) -> int:
    """Seconds to the next heartbeat of a client that waits: no later than the moment at which the worker is offline."""
    return max(1, min(settings.HEARTBEAT, math.ceil(workers.online_until(heartbeat) - now)))


def _same(stored: bytes | None, presented: bytes) -> bool:
    return stored is not None and hmac.compare_digest(bytes(stored), presented)
