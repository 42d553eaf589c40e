"""Which rule lets a client register the name of a worker that exists; the first that matches wins.

    i    the worker's own token (current, or an earlier one in its grace)                  accepted
    ii   the token that it joined with, and the stored boot id as `boot_id` or in          accepted
         `past_boot_ids`; not with the machine id of another machine
    iii  that token from the same machine, and the worker is not online                    accepted
    iv   a basic client: that token, of one use, from the same machine                     accepted
    v    a basic client: that token from the same machine, and the stored session never    accepted
         sent a heartbeat
    vi   a basic client: that token from the same machine                                  provisional
    vii  anybody else                                                                      refused

A boot id is random, so naming one proves possession of the agent's journal; a hostname and a machine id prove nothing.
So while a worker is online, a token that many hosts share gives no access to it. docs/protocol.md, Register, has the
rules for readers, docs/adr/0025 the reasons.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property

from chalicelib.auth import tokens
from chalicelib.fleet.workers import Worker
from chalicelib.store.tables import Credential, WorkerHeartbeat, WorkerRecord
from muster.api import messages as m
from muster.api.compat import StrEnum
from muster.api.structs import Value


class Rule(StrEnum):
    """By its number in the table above."""

    OWN_TOKEN = "i"
    KNOWN_BOOT = "ii"
    NOT_ONLINE = "iii"
    ONE_USE = "iv"
    NEVER_HEARD = "v"
    PROVISIONAL = "vi"
    REFUSED = "vii"

    @property
    def rests_on_silence(self) -> bool:
        """Whether a heartbeat of the worker, between reading it and writing, changes the outcome."""
        return self in (Rule.NOT_ONLINE, Rule.NEVER_HEARD)


class Request(Value, frozen=True, dict=True):
    """A registration for a known name. `token`: the registration token of its body, unless unknown or revoked."""

    body: m.Registration
    bearer: str | None
    token: Credential | None

    @cached_property
    def digests(self) -> tuple[bytes, ...]:
        return tuple(tokens.digest(secret) for secret in (self.bearer, self.body.token) if secret)

    @property
    def boot(self) -> bytes | None:
        return short(self.body.boot_id)

    @property
    def is_basic(self) -> bool:
        return self.body.boot_id is None

    def own(self, heartbeat: WorkerHeartbeat, now: float) -> bytes | None:
        """The digest of the worker's own token, if the request has one.

        A token of an ended session counts with the boot id that registered last: all later answers may have been lost.
        """
        for digest in self.digests:
            if tokens.is_own(heartbeat, digest, now) or (
                tokens.was_retired(heartbeat, digest) and same_boot(heartbeat, self.body)
            ):
                return digest
        return None

    def joined_with(self, record: WorkerRecord) -> bool:
        return self.token is not None and bool(self.token.credential_id == record.join_token_id)

    def is_of_the_past(self, worker: Worker) -> bool:
        """Whether it has a token of an ended session, or comes from a process that has ended."""
        if any(tokens.was_retired(worker.heartbeat, digest) for digest in self.digests):
            return True
        return self.joined_with(worker.record) and self.boot in retired_boots(worker.record)


def rule(worker: Worker, request: Request, now: float) -> Rule:
    """The first rule that matches."""
    if request.own(worker.heartbeat, now):
        return Rule.OWN_TOKEN
    if not request.joined_with(worker.record):
        return Rule.REFUSED
    return next(_matching(worker, request, now), Rule.REFUSED)


def _matching(worker: Worker, request: Request, now: float) -> Iterator[Rule]:
    """The rules that match a request with the token that the worker joined with."""
    if _knows_the_boot(worker.heartbeat, request.body) and not _other_machine(worker.record, request.body):
        yield Rule.KNOWN_BOOT
    if not _same_machine(worker.record, request.body):
        return
    if not worker.online(now):
        yield Rule.NOT_ONLINE
    if request.is_basic and worker.heartbeat.boot is None:
        if request.token is not None and request.token.max_uses == 1:
            yield Rule.ONE_USE
        if not worker.heartbeat.beats:
            yield Rule.NEVER_HEARD
        yield Rule.PROVISIONAL


def same_boot(heartbeat: WorkerHeartbeat, body: m.Registration) -> bool:
    """Whether this very boot registered last: its answer may have been lost, so that it knows only an older token."""
    boot = short(body.boot_id)
    return boot is not None and heartbeat.boot is not None and bytes(heartbeat.boot) == boot


def _knows_the_boot(heartbeat: WorkerHeartbeat, body: m.Registration) -> bool:
    named = [short(boot_id) for boot_id in (body.boot_id, *(body.past_boot_ids or ()))]
    return heartbeat.boot is not None and bytes(heartbeat.boot) in named


def _other_machine(record: WorkerRecord, body: m.Registration) -> bool:
    """Whether both machine ids are known and differ: then it is an overheard request, or a copy of a disk."""
    return bool(record.machine_id and body.machine_id and record.machine_id != body.machine_id)


def _same_machine(record: WorkerRecord, body: m.Registration) -> bool:
    """By the machine id, or where the worker gave none by the hostname."""
    if record.machine_id:
        return bool(record.machine_id == body.machine_id)
    return bool(record.hostname == body.system_info.hostname)


def short(value: str | None) -> bytes | None:
    """What is stored of a boot id: 16 bytes."""
    return hashlib.sha256(value.encode()).digest()[:16] if value else None


def retired_boots(record: WorkerRecord) -> list[bytes]:
    """Boot ids that may not register again, as stored, the latest first."""
    packed = bytes(record.retired_boots or b"")
    return [packed[i : i + 16] for i in range(0, len(packed), 16)]
