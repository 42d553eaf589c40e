"""The files of 0.1.0 are upgraded with a copy beside them, and a file of a newer release is refused as it is."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from infra.local import store
from infra.local.backup import DATABASE
from infra.local.damage import Damaged, Newer, check
from infra.local.store import Store
from muster_agent.state import db_file
from muster_agent.state.db import Database
from muster_agent.state.dir import StateError
from muster_agent.state.reserve import ReserveFile
from muster_agent.wiring import Journal
from tests.fixtures.kept_release import Release

JOURNAL = "journal.sqlite3"
NOW = 1_800_000_000.0
READ_BY_RELEASE = """
import sys
from pathlib import Path
from agent.crew import Memory
from agent.journal import Database
from agent.reserve import ReserveFile
state = Path(sys.argv[1])
memory = Memory.of(Database(state / "journal.sqlite3", ReserveFile(state / "reserve")))
print(memory.database.meta("worker_id"), len(memory.records.all()))
"""


@pytest.fixture
def state(release: Release, tmp_path: Path) -> Path:
    release.copy_state(tmp_path / "state")
    return tmp_path / "state"


@pytest.fixture
def data(release: Release, tmp_path: Path) -> Path:
    release.copy_data(tmp_path / "data")
    return tmp_path / "data"


def opened(state: Path) -> Journal:
    """What an agent makes of its journal when it starts."""
    return Journal.checked(Database(state / JOURNAL, ReserveFile(state / "reserve")))


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def rows(path: Path) -> list[str]:
    """Every table and row."""
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def set_version(path: Path, number: int) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {number}")


def test_the_journal_of_0_1_0_is_upgraded_with_all_that_is_in_it_and_kept(state: Path, release: Release) -> None:
    before = rows(state / JOURNAL)
    assert version(state / JOURNAL) == 0
    journal = opened(state)
    deployments = {each.deployment_id for each in journal.deployments_table.all()}
    assert deployments == {release.facts[name] for name in ("running", "crashed", "stopped")}
    journal.database.close()
    kept = state / f"{JOURNAL}.version-0"
    assert (version(state / JOURNAL), version(kept)) == (db_file.VERSION, 0)
    assert rows(state / JOURNAL) == rows(kept) == before, "version 1 has the tables of 0.1.0"
    assert not list(state.glob("*.damaged-*"))


def test_an_upgraded_journal_is_opened_without_another_copy(state: Path) -> None:
    opened(state).database.close()
    kept = state / f"{JOURNAL}.version-0"
    kept.unlink()
    opened(state).database.close()
    assert not kept.exists()


def test_an_agent_of_0_1_0_reads_an_upgraded_journal(state: Path, release: Release) -> None:
    journal = opened(state)
    worker_id = journal.database.meta("worker_id")
    journal.database.close()
    read = subprocess.run(
        [release.python, "-c", READ_BY_RELEASE, str(state)],
        cwd=release.agent,
        check=True,
        capture_output=True,
        text=True,
    )
    assert read.stdout.split() == [worker_id, "3"]


def test_a_journal_of_0_1_0_that_lacks_a_column_is_kept_as_damaged(state: Path, release: Release) -> None:
    with closing(sqlite3.connect(state / JOURNAL)) as connection:
        before = dict(connection.execute("SELECT key, value FROM meta"))
        connection.execute("ALTER TABLE deployments DROP COLUMN attempts")
    journal = opened(state)
    assert journal.database.meta("worker_id") == before["worker_id"]
    assert journal.database.journal_id != before["journal_id"]
    journal.database.close()
    (kept,) = db_file.damaged(state / JOURNAL)
    assert version(kept) == 0


def test_a_journal_of_a_newer_agent_is_refused_and_stays_as_it_is(state: Path) -> None:
    set_version(state / JOURNAL, db_file.VERSION + 1)
    before = {path: path.read_bytes() for path in state.iterdir() if path.is_file()}
    with pytest.raises(StateError, match="written by a newer agent"):
        opened(state)
    assert {path: path.read_bytes() for path in state.iterdir() if path.is_file()} == before


def test_the_data_of_0_1_0_is_upgraded_with_all_that_is_in_it_and_kept(data: Path) -> None:
    database = data / DATABASE
    copy = data.with_name("copy")
    shutil.copytree(data, copy)
    before = rows(copy / DATABASE)
    assert check(database, NOW, was_used=True) is None
    assert version(database) == 0, "a check changes nothing"
    Store(database).close()
    kept = data / f"{DATABASE}.version-0"
    assert (version(database), version(kept)) == (store.SCHEMA.version, 0)
    assert rows(database) == rows(kept) == before
    assert check(database, NOW, was_used=True) is None
    kept.unlink()
    Store(database).close()
    assert not kept.exists()


def test_data_of_0_1_0_that_lacks_a_column_is_damaged(data: Path) -> None:
    with closing(sqlite3.connect(data / DATABASE)) as connection:
        connection.execute("ALTER TABLE items DROP COLUMN item")
    with pytest.raises(Damaged, match="its table items has no column item"):
        check(data / DATABASE, NOW, was_used=True)


def test_data_of_a_newer_release_is_refused(data: Path) -> None:
    set_version(data / DATABASE, store.SCHEMA.version + 1)
    with pytest.raises(Newer, match="written by a newer release"):
        check(data / DATABASE, NOW, was_used=True)
