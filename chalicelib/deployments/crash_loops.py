"""Crash loops as their agents report them, with the next start by the control plane's own clock.

Every report of a loop names it, so a report without one ends it. What is shown counts down from when it was reported.
"""

from __future__ import annotations

from math import ceil

import msgspec
from msgspec import Struct
from pynamodb.expressions.update import Action

from chalicelib.store.tables import Deployment
from muster.api import messages as m
from muster.api.crash_loops import words
from muster.api.lifecycle import LIVE, Status

LONGEST_WAIT_SECONDS = 86400
"""Seconds until the next start that are believed."""


class Stored(Struct, omit_defaults=True):
    """`next_start` is in epoch seconds; None while that start is under way or runs."""

    error_code: str
    times: int
    next_start: float | None = None


def reported(deployment: Deployment, body: m.Report, now: float) -> list[Action]:
    """What to store of what a report says of the loop; nothing where it says what is stored."""
    before, after = _stored(deployment), _told(body.crash_loop, now)
    if after is None:
        return [Deployment.crash_loop.remove()] if before is not None else []
    if before is not None and after.next_start is not None and _is_same_failure(before, after):
        # Said again, or late: the start that it waits for is the same.
        after.next_start = min(after.next_start, before.next_start or after.next_start)
    return [Deployment.crash_loop.set(msgspec.json.encode(after).decode())] if after != before else []


def named(loop: m.CrashLoop) -> str:
    """A loop as its agent reports it, in words."""
    return words(msgspec.structs.replace(loop, error_code=m.brief(loop.error_code, m.MAX_CODE)))


def has_ended(deployment: Deployment, body: m.Report) -> bool:
    """Whether the model has run for so long that its agent reports the end of its loop."""
    is_over = body.crash_loop is None and body.reported is Status.RUNNING
    return is_over and deployment.status == Status.RUNNING and deployment.crash_loop is not None


def of(deployment: Deployment, now: float) -> m.CrashLoop | None:
    """The loop of one that is to run, as of now."""
    stored = _stored(deployment)
    if stored is None or deployment.desired != "running" or deployment.status not in LIVE:
        return None
    left = None if stored.next_start is None else max(0, ceil(stored.next_start - now))
    return m.CrashLoop(stored.error_code, stored.times, left)


def _stored(deployment: Deployment) -> Stored | None:
    return msgspec.json.decode(deployment.crash_loop, type=Stored) if deployment.crash_loop else None


def _told(loop: m.CrashLoop | None, now: float) -> Stored | None:
    if loop is None:
        return None
    next_start = None if loop.next_start_in is None else now + min(loop.next_start_in, LONGEST_WAIT_SECONDS)
    return Stored(m.brief(loop.error_code, m.MAX_CODE), loop.times, next_start)


def _is_same_failure(one: Stored, other: Stored) -> bool:
    return one.next_start is not None and (one.error_code, one.times) == (other.error_code, other.times)
