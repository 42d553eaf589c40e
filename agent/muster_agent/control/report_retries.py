"""How the delivery of each deployment's reports goes: when the next try is due, how far a report was shrunk, and which
deployments have their reports refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from muster_agent.control.backoff import Backoff
from muster_agent.state.outbox import Head, Key

REST_BACKOFF_CAP_SECONDS = 600.0
"""Seconds between two tries of a rest at most: nobody waits for it."""
OUTAGE_SECONDS = 60.0
"""Seconds after which failures that may be an outage of the control plane count as a refusal of the report."""


@dataclass
class RetryState:
    """`stage` is the index of the version to send (shrink.py); `failures` counts rounds that ended in a backoff.

    `due` and `started` are seconds of a monotonic clock. `since` is the epoch seconds of the first failure, for
    display, and `answer` the last. `refused` is set once the response concerned this report rather than an outage.
    """

    backoff: Backoff
    is_rest: bool = False
    due: float = 0.0
    stage: int = 0
    failures: int = 0
    started: float = 0.0
    since: float | None = None
    answer: str = ""
    refused: bool = False

    def note(self, answer: str, refused: bool, now: float, wall: float) -> None:
        """A try that failed. `now` is monotonic, `wall` epoch seconds."""
        if self.since is None:
            self.since, self.started = wall, now
        self.answer = answer
        self.refused = self.refused or refused

    def in_trouble(self, now: float) -> bool:
        return self.since is not None and (self.refused or now - self.started >= OUTAGE_SECONDS)


class ReportRetries:
    """Those under way, by deployment or operation."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._all: dict[Key, RetryState] = {}

    def of(self, head: Head) -> RetryState:
        """A report starts afresh after a rest; after another report, the backoff of its deployment goes on."""
        attempt = self._all.get(head.key)
        if attempt is None or attempt.is_rest != head.is_rest:
            attempt = self._all[head.key] = self._fresh(head.is_rest)
        return attempt

    def keep_only(self, heads: Iterable[Head]) -> None:
        """Forget those whose entries are gone, or were replaced by news."""
        current = {head.key: head.is_rest for head in heads}
        self._all = {key: attempt for key, attempt in self._all.items() if current.get(key) is attempt.is_rest}

    def delivered(self, head: Head) -> None:
        self._all.pop(head.key, None)

    def rest_follows(self, head: Head, now: float) -> None:
        """A smaller version was delivered; what it left out is tried after a pause."""
        before = self._all[head.key]
        rest = self._all[head.key] = self._fresh(is_rest=True)
        rest.since, rest.started, rest.answer, rest.refused = (
            before.since,
            before.started,
            before.answer,
            before.refused,
        )
        rest.due = now + rest.backoff.next()

    def in_trouble(self, now: float) -> dict[Key, RetryState]:
        return {key: attempt for key, attempt in self._all.items() if attempt.in_trouble(now)}

    def _fresh(self, is_rest: bool) -> RetryState:
        return RetryState(
            Backoff(self._random, cap=REST_BACKOFF_CAP_SECONDS) if is_rest else Backoff(self._random), is_rest
        )
