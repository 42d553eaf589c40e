"""Each process of the agent has a boot id, and tells those of the processes before it, which have ended.

A registration may still be on its way when its process is killed, and arrive after its successor's. Since the successor
named it, the control plane then knows that it is nobody's, and does not take it for a newer agent that this one has to
make way for.
"""

from __future__ import annotations

from contextlib import suppress
from uuid import uuid4

from agent.journal import Database, JournalFull

KEPT = 8


def next_boot(database: Database) -> tuple[str, list[str]]:
    """A new boot id, and those before it, the latest first. Called by whoever holds the state folder."""
    past = (database.meta("boots") or "").split()[:KEPT]
    fresh = uuid4().hex
    with suppress(JournalFull):  # an agent starts on a full disk too; the next one then does not know of it
        database.set_meta(boots=" ".join([fresh, *past]))
    return fresh, past
