"""When the control plane was last in contact: an agent without contact for a day starts nothing (its lease is over)."""

from __future__ import annotations

from muster_agent.host.clocks import Moment
from muster_agent.state.db import Database, JournalFull

LEASE_SECONDS = 24 * 3600.0
WRITE_EVERY_SECONDS = 600.0
"""Seconds: an idle agent need not write to its disk with every heartbeat."""


class Lease:
    """Within one boot of the host, only CLOCK_BOOTTIME counts. Across boots, see `age`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last = _read(database)
        self._written = self._last

    def note(self, now: Moment) -> None:
        """Remember a contact; journal it at most every WRITE_EVERY seconds."""
        self._last = now
        written_ago = now.since(self._written) if self._written is not None else None
        if written_ago is not None and written_ago < WRITE_EVERY_SECONDS:
            return
        try:
            self._database.set_meta(
                last_contact=repr(now.wall), contact_boottime=repr(now.boottime), contact_boot=now.boot_id
            )
            self._written = now
        except JournalFull:
            # This process remembers the contact until it ends, and a restart on a full disk has other troubles.
            pass

    def age(self, now: Moment) -> float | None:
        """Seconds since the last contact; None if there was none.

        Only the wall clock shows how long a reboot took, and it may be wrong by years until the host is online. So
        after a reboot the age is at least this boot's uptime, and more if the wall clock shows more. A wrong wall clock
        can only keep the agent from starting instances until the first contact; no running instance ends because of it.
        """
        if self._last is None:
            return None
        passed = now.since(self._last)
        if passed is not None:
            return passed
        by_wall_clock = max(0.0, now.wall - self._last.wall)
        # An agent before 0.2 did not journal the boot: its contact may well be of this one.
        return max(by_wall_clock, now.boottime) if self._last.boot_id else by_wall_clock

    def may_start(self, now: Moment) -> bool:
        """Whether the lease lasts: the agent may start instances."""
        age = self.age(now)
        return age is not None and age < LEASE_SECONDS


def _read(database: Database) -> Moment | None:
    wall = database.meta("last_contact")
    if wall is None:
        return None
    return Moment(float(wall), float(database.meta("contact_boottime") or 0), database.meta("contact_boot") or "")
