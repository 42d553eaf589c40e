"""Our engine as the suite has it: in memory, and over a file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local.dynamodb import Engine
from infra.local.store import Store
from tests.infra.local.dynamodb.answers import Database


def in_memory() -> Database:
    return Database(Engine().client)


class Restarted(Database):
    """Our engine over a file, which `restart` closes and opens again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open()
        super().__init__(self._engine.client)

    def restart(self) -> None:
        self.close()
        self._open()
        self.client = self._engine.client
        self.make_tables()

    def close(self) -> None:
        self._engine.close()
        self._store.close()

    def _open(self) -> None:
        self._store = Store(self._path)
        self._engine = Engine(self._store)


@contextmanager
def over_a_file() -> Iterator[Restarted]:
    with tempfile.TemporaryDirectory() as folder:
        database = Restarted(Path(folder) / "items.sqlite3")
        try:
            yield database
        finally:
            database.close()
