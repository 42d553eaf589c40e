"""Whether this host's clock is the control plane's, by the `Date` of its responses (RFC 9110, 6.6.1)."""

from __future__ import annotations

from datetime import timezone
from email.utils import parsedate_to_datetime

from muster.api.conditions import ConditionType
from muster_agent.conditions import Conditions

TOLERATED_SKEW_SECONDS = 60.0
"""Seconds. Nothing of Muster depends on the wall clock; downloads with signed URLs and certificates break first, after
minutes."""
SKEW_CHANGE_SECONDS = 30.0
"""Seconds by which the offset must have changed for another message, or a tenth of it: each one is stored."""


def ahead(date: str | None, sent: float, received: float) -> float | None:
    """Seconds by which a clock is ahead of the server's, which wrote `date` between `sent` and `received` by it;
    None where the server gave no date. A date has whole seconds.
    """
    if date is None:
        return None
    try:
        written = parsedate_to_datetime(date)
    except (ValueError, TypeError):
        return None
    there = written.replace(tzinfo=written.tzinfo or timezone.utc).timestamp()
    return sent - there - 1 if there + 1 < sent else min(0.0, received - there)


class ClockCheck:
    """Notes the condition ClockSkewed."""

    def __init__(self, conditions: Conditions) -> None:
        self._conditions = conditions
        self._reported = 0.0

    def note(self, seconds_ahead: float | None) -> None:
        """`seconds_ahead` as `ahead` gives it; with None there is nothing to compare."""
        if seconds_ahead is None:
            return
        if abs(seconds_ahead) < TOLERATED_SKEW_SECONDS:
            self._reported = 0.0
            self._conditions.in_order(ConditionType.CLOCK_SKEWED)
            return
        if abs(seconds_ahead - self._reported) > max(SKEW_CHANGE_SECONDS, abs(self._reported) / 10):
            self._reported = seconds_ahead
        self._conditions.trouble(ConditionType.CLOCK_SKEWED, _message(self._reported), deployments=[])


def _message(seconds_ahead: float) -> str:
    where = "ahead of" if seconds_ahead > 0 else "behind"
    return (
        f"this host's clock is {_length(abs(seconds_ahead))} {where} the control plane's: set it, and keep it set by"
        " NTP (`timedatectl set-ntp true`); certificates and downloads may be refused, and times in logs are wrong"
    )


def _length(seconds: float) -> str:
    for size, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} seconds"
