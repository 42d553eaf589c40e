"""Conditions of workers: what their agents report, and whom that holds up.

    WorkerHeartbeat      the bits of the types that the last heartbeat reported, in its one write
    part="conditions"    the text, the scope, and `since` of each: written when there is news of them

What the control plane finds itself is derived where it is read, and shown beside these as `Held`. A type counts as
reported while its bit is in WorkerHeartbeat, so that a condition ends with the heartbeat that does not report it,
even where the function was killed before it had reconciled. A changed text alone is no news: one with a counter in it
would cost a write at each heartbeat (docs/adr/0026).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Struct

from chalicelib.fleet.workers import Worker
from chalicelib.store import events
from chalicelib.store.events import About
from chalicelib.store.items import find_all, put_if
from chalicelib.store.tables import Conditions, Deployment
from chalicelib.store.times import when
from muster.api import messages as m
from muster.api import resources as r
from muster.api.conditions import bit, types_in
from muster.api.lifecycle import Status

MAX_CONDITIONS = 32
"""Conditions that a worker may have; further ones are left out."""
MAX_TEXT_CHARACTERS = 1024
MAX_DEPLOYMENTS = 4096
"""Ids in the scopes of all of a worker's conditions, since an item has at most 400 KB."""
TEXT_EVERY_SECONDS = 60.0
"""Seconds after which a text that changed, and nothing else, is written again; at a look that happens anyway."""
LINE_EVERY_SECONDS, MAX_LINES_PER_HOUR = 60.0, 16
"""Of one type at most one line that it is set in so many seconds, and of all types so many in an hour."""


class Held(Struct, omit_defaults=True):
    """A condition as it is stored. `told`: the timeline has a line that it is set."""

    type: str
    since: float
    message: str
    gpus: list[int] | None = None
    deployments: list[str] | None = None
    told: bool = False

    @property
    def scope(self) -> tuple[str, list[int] | None, list[str] | None]:
        return self.type, self.gpus, self.deployments

    def holds_up(self, deployment: Deployment) -> bool:
        """Whether the deployment, which is on the condition's worker, cannot go on as it should because of it."""
        if deployment.desired == "stopped" and deployment.status == Status.STOPPED:
            return False
        if self.gpus is None and self.deployments is None:
            return True
        if deployment.deployment_id in (self.deployments or ()):
            return True
        return bool(set(self.gpus or ()) & set(msgspec.json.decode(deployment.gpu_indexes, type=list[int])))


class State(Struct, omit_defaults=True):
    """The text of the item: `lines` are the types and times of the last lines that a condition is set."""

    held: list[Held] = []
    written_at: float = 0.0
    lines: list[tuple[str, float]] = []


def mask(reported: Iterable[m.ReportedCondition] | None) -> bytes | None:
    """The bits of the types, in at most 4 bytes; None where there are none."""
    bits = 0
    for condition in _bounded(reported):
        bits |= 1 << bit(condition.type)
    return bits.to_bytes((bits.bit_length() + 7) // 8, "big") if bits else None


def scopes(reported: Iterable[m.ReportedCondition] | None) -> list[object]:
    """What of the conditions is news: their types and whom they hold up, without their texts."""
    return [(condition.type, condition.gpus, condition.deployments) for condition in _bounded(reported)]


def _bounded(reported: Iterable[m.ReportedCondition] | None) -> list[m.ReportedCondition]:
    """The first 32 types, sorted, each once and on one line: all of it was written by a host."""
    found: dict[str, m.ReportedCondition] = {}
    for condition in reported or ():
        type_ = _line(condition.type, 64)
        if type_ in found:
            found[type_] = _both(found[type_], condition)
        elif len(found) < MAX_CONDITIONS:
            gpus = None if condition.gpus is None else sorted(set(condition.gpus))
            named = None if condition.deployments is None else sorted(set(condition.deployments))
            found[type_] = m.ReportedCondition(type_, _line(condition.message, MAX_TEXT_CHARACTERS), gpus, named)
    return [found[type_] for type_ in sorted(found)]


def _both(one: m.ReportedCondition, other: m.ReportedCondition) -> m.ReportedCondition:
    """The same type reported twice holds up what either does."""
    everything = any(condition.gpus is None and condition.deployments is None for condition in (one, other))
    gpus = None if everything else sorted({*(one.gpus or ()), *(other.gpus or ())})
    named = None if everything else sorted({*(one.deployments or ()), *(other.deployments or ())})
    return m.ReportedCondition(one.type, one.message, gpus, named)


def _line(text: str, limit: int) -> str:
    """One line, at most `limit` characters; a character that is not for reading is written as its number."""
    words = " ".join(text[: 4 * limit].split())
    return m.brief("".join(character if character.isprintable() else _number(character) for character in words), limit)


def _number(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


# What a look writes


def remember(about: About, reported: list[m.ReportedCondition] | None, own: set[str], now: float) -> None:
    """Store what the worker's heartbeat reports, where that is news, and tell its timeline of it.

    `own` are the ids of the deployments that have a slot there; a condition holds up no others. Whoever is cut off
    after the write leaves out a line, and none is told twice.
    """
    for _ in range(4):
        found = _stored([str(about.worker_id)]).get(str(about.worker_id))
        before = msgspec.json.decode(found.state, type=State) if found else State()
        after, lines = _next(before, reported, own, now)
        if not _is_news(before, after, now):
            return
        after.written_at = now
        item = Conditions(about.worker_id, part="conditions", state=msgspec.json.encode(after).decode())
        unchanged = Conditions.state == found.state if found else Conditions.state.does_not_exist()
        if put_if(item, unchanged):
            for type_, message in lines:
                events.record(about, type_, message, f"worker {about.worker_id}", now)
            return


def _is_news(before: State, after: State, now: float) -> bool:
    if [(held.scope, held.told) for held in before.held] != [(held.scope, held.told) for held in after.held]:
        return True
    texts = [held.message for held in before.held] != [held.message for held in after.held]
    return texts and now - before.written_at >= TEXT_EVERY_SECONDS


def _next(
    before: State, reported: list[m.ReportedCondition] | None, own: set[str], now: float
) -> tuple[State, list[tuple[str, str]]]:
    """The state after this report, and the lines for the timeline."""
    earlier = {held.type: held for held in before.held}
    after = State(lines=[(type_, at) for type_, at in before.lines if now - at < 3600])
    lines: list[tuple[str, str]] = []
    room = MAX_DEPLOYMENTS
    for condition in _bounded(reported):
        named = None if condition.deployments is None else [one for one in condition.deployments if one in own][:room]
        room -= len(named or ())
        last = earlier.pop(condition.type, None)
        held = Held(
            condition.type,
            last.since if last else now,
            condition.message,
            condition.gpus,
            named,
            bool(last and last.told),
        )
        if not held.told and _may_tell(after.lines, held.type, now):
            held.told = True
            after.lines.append((held.type, now))
            lines.append(_set_line(held))
        after.held.append(held)
    lines += [_cleared_line(held, now) for held in earlier.values() if held.told]
    return after, lines


def _may_tell(lines: list[tuple[str, float]], type_: str, now: float) -> bool:
    """Whether the timeline has room for the line. If not, a later look records it, while the condition is set."""
    return len(lines) < MAX_LINES_PER_HOUR and not any(
        of == type_ and now - at < LINE_EVERY_SECONDS for of, at in lines
    )


def _set_line(held: Held) -> tuple[str, str]:
    return "condition_set", f"{held.type}: {held.message}" if held.message else held.type


def _cleared_line(held: Held, now: float) -> tuple[str, str]:
    return "condition_cleared", f"{held.type}, after {max(0, int(now - held.since))} s"


# Reading


def of(workers: Iterable[Worker]) -> dict[str, list[Held]]:
    """The conditions of each worker, sorted by type. Those without a bit in their heartbeat item cost no read."""
    workers = list(workers)
    states = _stored([worker.worker_id for worker in workers if worker.heartbeat.conditions])
    return {worker.worker_id: _of(worker, states) for worker in workers}


def _stored(worker_ids: list[str]) -> dict[str, Conditions]:
    found = find_all(Conditions, [(worker_id, "conditions") for worker_id in worker_ids])
    return {str(item.worker_id): item for item in found}


def types(worker: Worker) -> list[str]:
    """The types alone, without a further read; what this release does not know is one `Other`."""
    return types_in(_bits(worker))


def _bits(worker: Worker) -> int:
    return int.from_bytes(bytes(worker.heartbeat.conditions or b""), "big")


def _of(worker: Worker, states: Mapping[str, Conditions]) -> list[Held]:
    bits = _bits(worker)
    item = states.get(worker.worker_id)
    stored = msgspec.json.decode(item.state, type=State).held if item else []
    return [held for held in stored if bits >> bit(held.type) & 1]


def merged(reported: Iterable[Held], derived: Held | None) -> list[Held]:
    """Those that a worker reports and one that the control plane found, if it did: sorted, and each type once."""
    found = {held.type: held for held in reported} | ({derived.type: derived} if derived else {})
    return [found[type_] for type_ in sorted(found)]


def views(held: Iterable[Held]) -> list[r.Condition]:
    """What is derived may quote what a host wrote, as well."""
    return [
        r.Condition(condition.type, when(condition.since), _line(condition.message, MAX_TEXT_CHARACTERS))
        for condition in held
    ]
