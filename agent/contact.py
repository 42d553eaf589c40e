"""When the control plane was last heard: an agent that nobody steers any more starts nothing."""

from __future__ import annotations

from agent.journal import Database, JournalFull

LEASE = 24 * 3600.0
WRITE_EVERY = 600.0
"""Seconds: an idle agent need not wear its disk with every beat."""


class Contact:
    """Times are epoch seconds of this host's clock, since they outlive a reboot."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.last: float | None = _number(database.meta("last_contact"))
        self._written = self.last

    def note(self, now: float) -> None:
        self.last = now
        if self._written is not None and 0 <= now - self._written < WRITE_EVERY:
            return
        try:
            self._database.set_meta(last_contact=repr(now))
            self._written = now
        except JournalFull:
            # The memory of it is good until a restart, and a restart on a full disk has other troubles.
            pass

    def may_start(self, now: float) -> bool:
        return self.last is not None and now - self.last < LEASE


def _number(text: str | None) -> float | None:
    return float(text) if text is not None else None
