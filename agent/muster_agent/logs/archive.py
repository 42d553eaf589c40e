"""The logs of instances that are gone, so that the question after a crash can still be answered."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from muster_agent.engines.base import Engine, Instance, LogChunk
from muster_agent.engines.log_lines import stored
from muster_agent.state.db import Database, JournalFull
from muster_agent.state.dir import PRIVATE_FOLDER, private_file

log = logging.getLogger(__name__)

MAX_ARCHIVED_LINES = 10000
MAX_ARCHIVED_BYTES = 4 * 1024 * 1024
LOGS_PER_DEPLOYMENT = 5


@dataclass(frozen=True)
class SavedLog:
    """A file that engines.logs.backwards reads."""

    path: Path
    saved_at: float


class Archive:
    """Keeps the last logs of each deployment. File names are numbers: ids come from outside."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder
        with suppress(OSError):  # a log that cannot be saved is told of when there is one
            folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)

    def save(self, instance: Instance, chunk: LogChunk, now: float) -> None:
        """Raises JournalFull, OSError."""

        def change(connection: sqlite3.Connection) -> tuple[int | None, list[int]]:
            added = connection.execute(
                "INSERT INTO saved_logs (instance_id, name, deployment_id, saved_at) VALUES (?, ?, ?, ?)",
                (instance.id, instance.name, instance.deployment_id or "", now),
            ).lastrowid
            old = connection.execute(
                "SELECT id FROM saved_logs WHERE deployment_id = ? ORDER BY id DESC LIMIT -1 OFFSET ?",
                (instance.deployment_id or "", LOGS_PER_DEPLOYMENT),
            ).fetchall()
            for row in old:
                connection.execute("DELETE FROM saved_logs WHERE id = ?", (row["id"],))
            return added, [row["id"] for row in old]

        number, old = self._database.write(change)
        private_file(self._file(number)).write_bytes(stored(chunk)[-MAX_ARCHIVED_BYTES:])
        for old_number in old:
            self._file(old_number).unlink(missing_ok=True)

    def save_and_remove(self, engine: Engine, instance: Instance, now: float) -> None:
        """Save the log of a dead instance, then remove it."""
        self.try_to_save(engine, instance, now)
        engine.remove(instance.id)

    def try_to_save(self, engine: Engine, instance: Instance, now: float) -> None:
        """The log of an instance that is about to be removed, if there is room for it. Raises EngineError."""
        try:
            self.save(instance, engine.logs(instance.id, MAX_ARCHIVED_LINES, None), now)
        except (JournalFull, OSError) as error:
            # The disk is full, and what is in the way of freeing it may be this very instance.
            log.warning("the log of %s is lost: %s", instance.name, error)

    def find(self, key: str) -> SavedLog | None:
        """The newest log by instance id, a unique prefix of one, a name, or a deployment's id."""
        rows = self._database.read("SELECT * FROM saved_logs ORDER BY id DESC")
        exact = [row for row in rows if key in (row["instance_id"], row["name"], row["deployment_id"])]
        begun = [row for row in rows if row["instance_id"].startswith(key)]
        unique = len({row["instance_id"] for row in begun}) == 1
        saved = (SavedLog(self._file(row["id"]), row["saved_at"]) for row in exact or (begun if unique else []))
        return next((log_file for log_file in saved if log_file.path.exists()), None)

    def _file(self, number: int | None) -> Path:
        return self._folder / f"{number}.log"
