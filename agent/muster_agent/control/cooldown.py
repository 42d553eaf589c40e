"""A control plane that refused this host is asked again after a while, however often a supervisor starts the agent.

An agent that was refused has nothing to do, so it ends and says why; and what ends is started again. The journal knows
of the refusal, and a start soon after it waits. Other settings may be taken, so they are tried at once; so is the first
start after a reboot, since no clock tells how long that took.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress

from muster_agent.host.clocks import Moment
from muster_agent.state.db import Database, JournalFull

COOLDOWN_SECONDS = 300.0
"""Seconds: at most two registrations in ten minutes."""


class RegistrationCooldown:
    """`settings` are what was refused; only a digest of them is kept."""

    def __init__(self, database: Database, *settings: str) -> None:
        self._database = database
        self._settings = hashlib.sha256("\0".join(settings).encode()).hexdigest()

    def note(self, now: Moment) -> None:
        with suppress(JournalFull):
            self._database.set_meta(
                refused_at=repr(now.boottime), refused_boot=now.boot_id, refused_with=self._settings
            )

    def pause(self, now: Moment) -> float:
        """Seconds to wait before these settings are tried again."""
        at, boot = self._database.meta("refused_at"), self._database.meta("refused_boot")
        if at is None or boot != now.boot_id or self._database.meta("refused_with") != self._settings:
            return 0.0
        return max(0.0, float(at) + COOLDOWN_SECONDS - max(now.boottime, float(at)))
