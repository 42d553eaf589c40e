"""Sends what the spool holds for as long as it takes: in order for each deployment, and none held up by another.

    delivered, or the control plane's own no ──► the next of this deployment
    refused by something in between          ──► a smaller version at once; the smallest with backoff, without end
    no response, or a server error           ──► with backoff; after two failures a smaller version
    no connection at all                     ──► nothing is sent to anybody until a common backoff is over

After a smaller version of a crash report the whole report follows as its rest (state/outbox.py).
While reports are refused, the worker has the condition ReportsRefused.
"""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from random import Random
from threading import Event
from typing import Any, Protocol

from muster.api.conditions import ConditionType
from muster_agent.conditions import Conditions
from muster_agent.control.backoff import Backoff
from muster_agent.control.client import TRANSIENT_STATUSES, Api, Fatal, Retry
from muster_agent.control.report_retries import ReportRetries, RetryState
from muster_agent.control.shrink import versions
from muster_agent.host.clocks import Clocks
from muster_agent.state.db import JournalFull
from muster_agent.state.dir import Identity, StateError
from muster_agent.state.outbox import Entry, Key, Outbox

log = logging.getLogger(__name__)

IDLE_SECONDS = 60.0
"""Seconds without anything new after which it looks anyway."""
CROWD_BACKOFF_CAP_SECONDS = 15.0
"""Seconds of the common backoff at most where connections are made, and end without a response."""
FAILURES_BEFORE_SHRINKING = {"status": 2, "result": 3}
"""Failures after which a smaller version is sent, where size is only a guess. A result has no rest: it waits longer."""
TOO_LARGE_STATUS = 413


class Membership(Protocol):
    """Who the agent is to the control plane just now: None while it has to register, or is parked."""

    @property
    def identity(self) -> Identity | None: ...

    def refused(self, identity: Identity, error: Fatal) -> None:
        """A request made as `identity` was refused for who it is."""

    def next_start_in(self, deployment_id: str, generation: int | None) -> int | None:
        """Seconds until a deployment's next start; None where that is not known."""


class Reporter:
    """Has an Api, and with it a connection, of its own. The monotonic clock measures every wait."""

    def __init__(
        self,
        api: Api,
        outbox: Outbox,
        membership: Membership,
        random: Random,
        conditions: Conditions,
        clocks: Clocks,
    ) -> None:
        self._api = api
        self._outbox = outbox
        self._membership = membership
        self._conditions = conditions
        self._clock = clocks.wall
        self._monotonic = clocks.monotonic
        self._attempts = ReportRetries(random)
        self._unreachable = Backoff(random)
        self._crowd = Backoff(random, cap=CROWD_BACKOFF_CAP_SECONDS)
        self._unanswered: set[Key] = set()
        self._nobody_before = 0.0
        self._drained = Event()

    def step(self) -> float:
        """Send one; seconds to wait before the next, unless something new arrives."""
        heads = self._outbox.heads()
        self._attempts.keep_only(heads)
        if not heads:
            self._conditions.in_order(ConditionType.REPORTS_REFUSED)
            return IDLE_SECONDS
        identity = self._membership.identity
        if identity is None:
            return 1.0
        now = self._monotonic()
        if now < self._nobody_before:
            return self._nobody_before - now
        due = {head.id: self._attempts.of(head).due for head in heads}
        head = next((head for head in heads if due[head.id] <= now), None)
        if head is None:
            return min(due.values()) - now
        entry = self._outbox.load(head)
        return self._try(identity, entry) if entry else 0.0

    def run(self) -> None:
        """A thread's whole life."""
        while True:
            self._outbox.arrived.clear()
            try:
                delay = self.step()
            except StateError as error:  # the next heartbeat finds it too, and the agent begins a new journal
                log.warning("a report could not be sent: %s", error)
                delay = self._wait_for_everybody(self._unreachable.next())
            except Exception:
                # Without this thread nobody would ever hear of anything again: say it, and go on.
                log.exception("a report could not be sent")
                delay = self._wait_for_everybody(self._unreachable.next())
            if delay:
                if self._monotonic() >= self._nobody_before and not self._outbox.arrived.is_set():
                    self._drained.set()
                self._outbox.arrived.wait(delay)

    def flush(self, seconds: float) -> None:
        """Give the thread that long to send what can be sent now; the rest is sent after the next start."""
        self._drained.clear()
        self._outbox.arrived.set()
        self._drained.wait(seconds)

    # One request

    def _try(self, identity: Identity, entry: Entry) -> float:
        attempt = self._attempts.of(entry)
        try:
            return self._send(identity, entry, attempt)
        except StateError:
            raise
        except Exception:
            # An entry that cannot be sent, whatever is wrong with it, must not hold up the entries after it.
            log.exception("%s of %s could not be sent", entry.kind, entry.about)
            attempt.due = self._monotonic() + attempt.backoff.next()
            return 0.0

    def _send(self, identity: Identity, entry: Entry, attempt: RetryState) -> float:
        made = [entry.body] if entry.is_rest else versions(entry.kind, entry.body)
        attempt.stage = min(attempt.stage, len(made) - 1)
        smaller = len(made) - 1 - attempt.stage
        body = self._as_of_now(entry, made[attempt.stage]) | {"session": identity.session}
        try:
            self._api.tell(identity.worker_id, identity.token, entry.kind, entry.about, body)
        except Retry as error:
            return self._retry(entry, attempt, error, smaller)
        except Fatal as error:
            self._answered()
            if error.unauthorized or error.superseded:
                self._membership.refused(identity, error)
                return self._wait_for_everybody(self._unreachable.next())
            if error.status == TOO_LARGE_STATUS or (error.status == 400 and smaller and entry.kind == "status"):
                return self._retry(entry, attempt, Retry(str(error), status=error.status, foreign=True), smaller)
            log.warning("%s of %s was not taken, and is dropped: %s", entry.kind, entry.about, error)
            return self._done(entry)
        self._answered()
        left_out = attempt.stage > 0 and entry.kind == "status" and "error_code" in entry.body
        return self._done(entry, entry.body if left_out else None)

    def _as_of_now(self, entry: Entry, body: dict[str, Any]) -> dict[str, Any]:
        """A report may have waited for long: what is left until the next start is less than when it was made."""
        loop = body.get("crash_loop") or {}
        reported: int | None = loop.get("next_start_in")
        if reported is None:
            return body
        left = self._membership.next_start_in(entry.about, body.get("generation"))
        return body if left is None else body | {"crash_loop": loop | {"next_start_in": min(reported, left)}}

    def _retry(self, entry: Entry, attempt: RetryState, error: Retry, smaller: int) -> float:
        """Not delivered: shrink it, or wait."""
        log.warning("%s of %s not delivered yet: %s", entry.kind, entry.about, error)
        if not error.connected:
            return self._wait_for_everybody(self._unreachable.next(error.after))
        now = self._monotonic()
        refused = error.foreign and error.status not in TRANSIENT_STATUSES and (error.status or 0) < 500
        attempt.note(_answer(error), refused, now, self._clock())
        self._note_silence(entry, error)
        if refused and smaller and entry.kind == "status":
            attempt.stage += 1
            return 0.0
        attempt.failures += 1
        may_be_size = error.foreign or error.status is None
        if may_be_size and smaller and attempt.failures >= FAILURES_BEFORE_SHRINKING[entry.kind]:
            attempt.stage += 1
        attempt.due = now + attempt.backoff.next(error.after)
        self._note_trouble()
        return max(0.0, self._nobody_before - now)

    def _done(self, entry: Entry, rest: dict[str, Any] | None = None) -> float:
        if rest is None:
            self._attempts.delivered(entry)
        else:
            self._attempts.rest_follows(entry, self._monotonic())
        try:
            self._outbox.done(entry, rest)
        except JournalFull:
            # It will be sent again after a restart, which changes nothing over there.
            log.warning("the disk is full: a %s of %s that was sent stays in the journal", entry.kind, entry.about)
        self._note_trouble()
        return 0.0

    # Everybody's

    def _answered(self) -> None:
        """The control plane is there."""
        self._unreachable.reset()
        self._crowd.reset()
        self._unanswered.clear()

    def _note_silence(self, entry: Entry, error: Retry) -> None:
        """One request that ends without a response may be refused so; of several in a row, all would be."""
        if error.status is not None:
            self._answered()
            return
        if not entry.is_rest:
            self._unanswered.add(entry.key)
        if len(self._unanswered) > 1:
            self._wait_for_everybody(self._crowd.next())

    def _wait_for_everybody(self, seconds: float) -> float:
        self._nobody_before = self._monotonic() + seconds
        return seconds

    def _note_trouble(self) -> None:
        troubled = self._attempts.in_trouble(self._monotonic())
        if not troubled:
            self._conditions.in_order(ConditionType.REPORTS_REFUSED)
            return
        latest = max(troubled.values(), key=lambda attempt: attempt.since or 0.0)
        since = min(attempt.since or 0.0 for attempt in troubled.values())
        at = datetime.fromtimestamp(since, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        deployments = sorted(about for kind, about in troubled if kind == "status")
        message = f"{latest.answer}, since {at}: {_counted(troubled)} refused"
        self._conditions.trouble(ConditionType.REPORTS_REFUSED, message, deployments=deployments)


def _answer(error: Retry) -> str:
    return str(error) if error.status is not None else f"no response ({error})"


def _counted(troubled: dict[Key, RetryState]) -> str:
    """What is refused: `reports of 2 deployments and results of 1 operation are`."""
    statuses = [attempt for (kind, _), attempt in troubled.items() if kind == "status"]
    rests = sum(attempt.is_rest for attempt in statuses)
    kinds = (
        ("reports", "deployment", len(statuses) - rests),
        ("logs", "deployment", rests),
        ("results", "operation", len(troubled) - len(statuses)),
    )
    refused = [f"{what} of {count} {of}{'s' if count != 1 else ''}" for what, of, count in kinds if count]
    return f"{' and '.join(refused)} are"
