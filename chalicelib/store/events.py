"""Timelines: one line for each change, with who, what, when and why; kept for 30 days (docs/adr/0015).

A line is stored under everything that it is looked up by, in one request: its deployment, its worker, the fleet.

    subject           at                                the same line, once each
    <deployment_id>   1800000000.000000-00015f0c1a2b    its own timeline
    <worker_id>       1800000000.000000-00015f0c1a2b    its worker's
    fleet#<shard>     1800000000.000000-00015f0c1a2b    everything's; a shard takes 1,000 lines a second

`at` is the line's id too, and its order. Lines may land late: whoever stamped one was slower than another, or its clock
behind. So a cursor is not a place but a border and the lines beyond it that were given already.
"""

from __future__ import annotations

import base64
import heapq
import itertools
import secrets
import zlib
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from pynamodb.expressions.condition import Condition

from chalicelib.store.items import find_all
from chalicelib.store.tables import Deployment, Event, WorkerRecord
from chalicelib.store.times import when
from muster.api import resources as r
from muster.api.errors import ApiError
from muster.api.structs import Value

LINE_TTL_SECONDS = 30 * 86400
SHARDS = tuple(f"fleet#{n}" for n in range(4))
LATE_SECONDS = 120.0
"""Seconds by which a line may land late and still be followed: a sweep or a request never takes as long."""
MAX_LATE_LINES = 200
"""Lines that a cursor remembers beyond its border; where there are more in LATE_SECONDS, the border moves up."""
MAX_UNPACKED_BYTES = 16 * 1024
CONTROL_PLANE = "control plane"
_order = itertools.count()
"""One request stamps all of its lines with one time: this keeps them in order."""
Place = Annotated[str, msgspec.Meta(pattern=r"^\d{10}\.\d{6}(-[0-9a-f]{6,12})?(?!\n)$")]


class About(Value, frozen=True):
    """What a line is about: ids, and names where they are at hand."""

    deployment_id: str | None = None
    deployment_name: str | None = None
    worker_id: str | None = None
    worker_name: str | None = None
    operation_id: str | None = None
    token_id: str | None = None
    key_id: str | None = None
    error_code: str | None = None

    @property
    def subjects(self) -> list[str]:
        return [subject for subject in (self.deployment_id, self.worker_id) if subject]


def on(deployment: Deployment, error_code: str | None = None) -> About:
    """A deployment as it is, and the worker that it is on or leaves."""
    worker_id = deployment.worker_id or deployment.leaving
    return About(deployment.deployment_id, deployment.name, worker_id, error_code=error_code)


def record(about: About, type_: str, message: str, by: str, now: float) -> None:
    """`by` names the key, the worker or the control plane."""
    unique = secrets.token_hex(4)
    at, shard = f"{now:017.6f}-{next(_order) % 0x10000:04x}{unique}", SHARDS[int(unique, 16) % len(SHARDS)]
    line: dict[str, Any] = {"type": type_, "message": message[:2048], "by": by, "ttl": int(now + LINE_TTL_SECONDS)}
    line |= {name: value for name, value in msgspec.structs.asdict(about).items() if value is not None}
    with Event.batch_write() as batch:
        for subject in (*about.subjects, shard):
            batch.save(Event(subject, at, **line))


class Cursor(msgspec.Struct, array_like=True):
    """Every line up to `border` was given, and of those after it `given`."""

    border: Place
    given: Annotated[list[Place], msgspec.Meta(max_length=MAX_LATE_LINES)]


def timeline(subjects: Iterable[str], query: r.EventsQuery, now: float) -> r.Events:
    """Newest first. With `after`, the oldest of those that its cursor has not given. Raises INVALID_REQUEST."""
    subjects = list(subjects)
    if query.after is not None:
        return _following(subjects, _unpacked(query.after, Cursor, "after"), query.limit, now)
    if query.next_token is not None:
        before = _unpacked(query.next_token, Place, "next_token")
        lines = _query(subjects, Event.at < before, query.limit, now, forward=False)
        return r.Events(_views(lines), _next(lines, query.limit))
    late = _query(subjects, Event.at > _place(now - LATE_SECONDS), MAX_LATE_LINES + 1, now, forward=False)
    cursor = _cursor(_place(now - LATE_SECONDS), [str(line.at) for line in late], _place(now), now)
    lines = [line for line in late if line.at > cursor.border][: query.limit]
    if len(lines) < query.limit:
        lines += _query(subjects, Event.at <= cursor.border, query.limit - len(lines), now, forward=False)
    return r.Events(_views(lines), _next(lines, query.limit), _packed(cursor))


def _following(subjects: list[str], cursor: Cursor, limit: int, now: float) -> r.Events:
    given = set(cursor.given)
    found = _query(subjects, Event.at > cursor.border, limit + len(given), now, forward=True)
    lines = [line for line in found if line.at not in given][:limit]
    reach = str(lines[-1].at) if len(lines) == limit else _place(now)
    after = _cursor(cursor.border, [*given, *(str(line.at) for line in lines)], reach, now)
    return r.Events(_views(lines[::-1]), None, _packed(after))


def _cursor(border: str, given: list[str], reach: str, now: float) -> Cursor:
    """What was read up to `reach` lies behind the border, except for the last LATE_SECONDS."""
    border = max(border, min(reach, _place(now - LATE_SECONDS)))
    beyond = sorted(at for at in given if at > border)
    if len(beyond) > MAX_LATE_LINES:
        border, beyond = beyond[-MAX_LATE_LINES - 1], beyond[-MAX_LATE_LINES:]
    return Cursor(border, beyond)


# Reading


def _query(subjects: list[str], keys: Condition, limit: int, now: float, *, forward: bool) -> list[Event]:
    """The first `limit` lines of all subjects, in one order. Eventually consistent: what is not there yet is late."""
    found = [
        Event.query(
            subject,
            keys,
            filter_condition=Event.ttl > int(now),
            scan_index_forward=forward,
            page_size=limit,
            limit=limit,
        )
        for subject in subjects
    ]
    return list(itertools.islice(heapq.merge(*found, key=lambda line: str(line.at), reverse=not forward), limit))


def _views(lines: list[Event]) -> list[r.Event]:
    """Names that were not at hand when a line was written are looked up: a report knows its worker by id alone."""
    nameless = {str(line.worker_id) for line in lines if line.worker_id and not line.worker_name}
    names = {str(c.worker_id): str(c.name) for c in find_all(WorkerRecord, [(i, "cold") for i in sorted(nameless)])}
    return [_view(line, names) for line in lines]


def _view(line: Event, names: dict[str, str]) -> r.Event:
    worker_name = line.worker_name or names.get(str(line.worker_id))
    by_itself = worker_name and line.by == f"worker {line.worker_id}"
    return r.Event(
        event_id=line.at,
        at=when(float(line.at.split("-")[0])),
        type=line.type,
        message=line.message,
        by=f"worker {worker_name}" if by_itself else line.by,
        deployment_id=line.deployment_id,
        deployment_name=line.deployment_name,
        worker_id=line.worker_id,
        worker_name=worker_name,
        operation_id=line.operation_id,
        token_id=line.token_id,
        key_id=line.key_id,
        error_code=line.error_code,
    )


# What clients hold on to


def _place(epoch: float) -> str:
    return f"{epoch:017.6f}"


def _next(lines: list[Event], limit: int) -> str | None:
    return _packed(str(lines[-1].at)) if len(lines) == limit else None


def _packed(value: object) -> str:
    return base64.urlsafe_b64encode(zlib.compress(msgspec.json.encode(value))).decode()


def _unpacked(text: str, type_: Any, name: str) -> Any:
    try:
        packed = base64.urlsafe_b64decode(text.encode("ascii"))
        return msgspec.json.decode(zlib.decompressobj().decompress(packed, MAX_UNPACKED_BYTES), type=type_)
    except (ValueError, RecursionError, zlib.error) as error:
        raise ApiError("INVALID_REQUEST", f"{name}: expected what an earlier answer gave") from error
