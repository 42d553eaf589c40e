"""How far the control plane was heard. It is journaled, so that an agent whose disk was put back to an earlier day, or
that was cloned, says so without knowing it: what was sent since then is sent to it again."""

from __future__ import annotations

from contextlib import suppress

from muster_agent.state.db import Database, JournalFull


class InboxCursor:
    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def last(self) -> int:
        """The value that came with the last heartbeat of which everything is journaled; 0 before the first."""
        return int(self._database.meta("inbox") or 0)

    def note(self, value: int) -> None:
        with suppress(JournalFull):  # what it says is then older than the truth, and at worst something comes twice
            self._database.set_meta(inbox=str(value))
