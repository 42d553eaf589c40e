"""The journal's file on good disks and on full ones."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from agent.crew import Memory
from agent.journal import JournalFull, put_meta
from tests.fixtures.agent_world import AgentWorld
from tests.fixtures.journals import DEPLOY, big_stop, fill, forbid_writing, open_memory


def test_journal_id_is_as_old_as_the_journal(tmp_path: Path) -> None:
    first = open_memory(tmp_path).database
    assert open_memory(tmp_path).database.journal_id == first.journal_id
    (tmp_path / "journal").unlink()
    assert open_memory(tmp_path).database.journal_id != first.journal_id


def test_files_are_for_our_user_alone(tmp_path: Path) -> None:
    memory = open_memory(tmp_path)
    memory.records.accept(DEPLOY)
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_agent_whose_journal_is_broken_registers_again(world: AgentWorld) -> None:
    world.kill()
    (world.state.path / "journal").write_bytes(b"not a database" * 1000)
    world.boot().beat()
    assert world.server.session == 2


def test_reserve_is_given_up_once(full: Memory) -> None:
    full.records.accept(big_stop("d1"))
    fill(full.database)
    with pytest.raises(JournalFull):
        full.records.accept(big_stop("d2"))


def test_every_change_is_on_the_disk_before_the_call_returns(tmp_path: Path) -> None:
    database = open_memory(tmp_path).database
    assert database.connection.execute("PRAGMA synchronous").fetchone()[0] == 2, "FULL"


def test_a_change_that_fails_leaves_nothing_of_itself(tmp_path: Path) -> None:
    database = open_memory(tmp_path).database

    def change(connection: sqlite3.Connection) -> None:
        put_meta(connection, "half", "done")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        database.write(change)
    assert database.meta("half") is None
    database.set_meta(whole="done")
    assert open_memory(tmp_path).database.meta("whole") == "done"


def test_what_is_so_already_is_not_written_and_none_forgets(tmp_path: Path) -> None:
    database = open_memory(tmp_path).database
    database.set_meta(name="gpu-1", token="t")
    forbid_writing(database)
    database.set_meta(name="gpu-1", token="t", absent=None)
    with pytest.raises(JournalFull):
        database.set_meta(token=None)
    database.connection.execute("PRAGMA query_only = OFF")
    database.set_meta(token=None)
    assert (database.meta("name"), database.meta("token")) == ("gpu-1", None)
