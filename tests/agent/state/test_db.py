"""The journal's file on good disks and on full ones."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from muster.files.sqlite_errors import FULL, IOERR, READONLY
from muster_agent.state.db import NO_ROOM, Database, JournalDamaged, JournalFull, put_meta, unwritable
from muster_agent.state.db_file import VERSION
from muster_agent.state.reserve import ReserveFile
from muster_agent.wiring import Journal
from tests.fixtures.agent_world import AgentWorld
from tests.fixtures.journals import BIG, DEPLOY, Room, big_stop, fill, forbid_writing, open_journal
from tests.fixtures.small_disk import fill as fill_disk
from tests.fixtures.small_disk import read_only, small_disk

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk")


def test_journal_id_is_as_old_as_the_journal(tmp_path: Path) -> None:
    first = open_journal(tmp_path).database
    assert open_journal(tmp_path).database.journal_id == first.journal_id
    (tmp_path / "journal").unlink()
    assert open_journal(tmp_path).database.journal_id != first.journal_id


def test_a_journal_without_an_id_gets_one_when_it_is_opened(tmp_path: Path) -> None:
    open_journal(tmp_path).database.set_meta(journal_id=None)
    database = open_journal(tmp_path).database
    assert database.journal_id
    assert open_journal(tmp_path).database.journal_id == database.journal_id


def test_files_are_for_our_user_alone(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.deployments_table.accept(DEPLOY)
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_agent_whose_journal_is_broken_registers_again(world: AgentWorld) -> None:
    world.kill()
    (world.state.path / "journal").write_bytes(b"not a database" * 1000)
    world.boot().beat()
    assert world.server.session == 2


def test_reserve_is_given_up_once(full: Journal) -> None:
    full.deployments_table.accept(big_stop("d1"))
    fill(full.database)
    with pytest.raises(JournalFull):
        full.deployments_table.accept(big_stop("d2"))


def test_every_change_is_on_the_disk_before_the_call_returns(tmp_path: Path) -> None:
    database = open_journal(tmp_path).database
    assert database.connection.execute("PRAGMA synchronous").fetchone()[0] == 2, "FULL"


def test_a_change_that_fails_leaves_nothing_of_itself(tmp_path: Path) -> None:
    database = open_journal(tmp_path).database

    def change(connection: sqlite3.Connection) -> None:
        put_meta(connection, "half", "done")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        database.write(change)
    assert database.meta("half") is None
    database.set_meta(whole="done")
    assert open_journal(tmp_path).database.meta("whole") == "done"


def test_what_is_so_already_is_not_written_and_none_forgets(tmp_path: Path) -> None:
    database = open_journal(tmp_path).database
    database.set_meta(name="gpu-1", token="t")
    forbid_writing(database)
    database.set_meta(name="gpu-1", token="t", absent=None)
    with pytest.raises(JournalFull):
        database.set_meta(token=None)
    database.connection.execute("PRAGMA query_only = OFF")
    database.set_meta(token=None)
    assert (database.meta("name"), database.meta("token")) == ("gpu-1", None)


# Full disks, and disks that cannot be written


def crowded(folder: Path) -> tuple[Database, Room]:
    """A journal that has no room but its reserve's."""
    room = Room()
    database = Database(folder / "journal", room)
    room.database = database
    fill(database)
    return database, room


def big(connection: sqlite3.Connection) -> str:
    put_meta(connection, "big", BIG)
    return "written"


def test_the_reserve_is_for_what_is_urgent_alone(tmp_path: Path) -> None:
    database, room = crowded(tmp_path)
    with pytest.raises(JournalFull):
        database.write(big)
    assert room.held
    assert database.write(big, urgent=True) == "written"
    assert not room.held
    assert database.meta("big") == BIG


def test_a_value_takes_the_reserve_only_where_it_is_urgent(tmp_path: Path) -> None:
    database, room = crowded(tmp_path)
    with pytest.raises(JournalFull):
        database.set_meta(name=BIG)
    assert room.held
    database.set_meta(name=BIG, urgent=True)
    assert (room.held, database.meta("name")) == (False, BIG)


def test_a_change_that_finds_no_room_is_tried_again_only_in_the_reserve(tmp_path: Path) -> None:
    database, _ = crowded(tmp_path)
    tries: list[bool] = []

    def change(connection: sqlite3.Connection) -> None:
        tries.append(connection.in_transaction)
        big(connection)

    with pytest.raises(JournalFull):
        database.write(change)
    assert tries == [True]
    database.write(change, urgent=True)
    assert tries == [True] * 3


def test_the_reserve_is_not_given_up_for_a_disk_that_takes_nothing_whatever_its_room(tmp_path: Path) -> None:
    room = Room()
    database = Database(tmp_path / "journal", room)
    forbid_writing(database)
    with pytest.raises(JournalFull):
        database.write(big, urgent=True)
    assert room.held


def test_a_journal_takes_its_reserve_when_it_is_opened_and_when_it_is_begun_anew(tmp_path: Path) -> None:
    database = open_journal(tmp_path).database
    assert (tmp_path / "reserve").exists()
    database.give_up_reserve()
    assert not (tmp_path / "reserve").exists()
    database.restore_reserve()
    assert (tmp_path / "reserve").exists()
    database.give_up_reserve()
    database.begin_anew("something else is in it")
    assert (tmp_path / "reserve").exists()


def test_a_command_that_could_not_be_journaled_is_answered_with_what_is_wrong(tmp_path: Path) -> None:
    database, _ = crowded(tmp_path)
    with pytest.raises(JournalFull) as full:
        database.write(big)
    assert (full.value.error_code, full.value.command_message) == ("DISK_FULL", NO_ROOM)
    database = open_journal(tmp_path).database
    forbid_writing(database)
    with pytest.raises(JournalFull, match="cannot be written") as other:
        database.write(big)
    assert (other.value.error_code, str(other.value) in other.value.command_message) == ("STATE_UNAVAILABLE", True)


IOERR_WRITE, IOERR_FSYNC, READONLY_DIRECTORY = IOERR | 3 << 8, IOERR | 4 << 8, READONLY | 6 << 8


def failing(code: int) -> Callable[[sqlite3.Connection], None]:
    """A change that SQLite fails with this code."""

    def change(connection: sqlite3.Connection) -> None:
        error = sqlite3.OperationalError("failed")
        error.sqlite_errorcode = code
        raise error

    return change


@pytest.fixture(params=["with room", "full"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, bool]]:
    """A small disk, and whether it is full."""
    with small_disk(tmp_path / "disk", "8m") as disk:
        yield disk, request.param == "full"


@needs_root
@pytest.mark.parametrize(
    ("code", "is_full"),
    [
        (FULL, "always"),
        (IOERR_WRITE, "if the disk is"),
        (IOERR_FSYNC, "if the disk is"),
        (READONLY_DIRECTORY, "never"),
    ],
)
def test_an_io_error_is_for_want_of_space_where_the_disk_is_full(
    disk: tuple[Path, bool], code: int, is_full: str
) -> None:
    folder, full = disk
    database = open_journal(folder).database
    if full:
        fill_disk(folder)
    with pytest.raises(JournalFull) as raised:
        database.write(failing(code))
    assert raised.value.full is (is_full == "always" or (full and is_full == "if the disk is"))


@needs_root
@pytest.mark.parametrize(
    ("free", "is_full", "error_is_for_want_of_space"),
    [(32, True, True), (128, False, True), (512, False, True), (2048, False, False)],
)
def test_a_disk_is_full_before_its_last_byte_and_an_io_error_is_for_want_of_space_even_earlier(
    tmp_path: Path, free: int, is_full: bool, error_is_for_want_of_space: bool
) -> None:
    with small_disk(tmp_path / "disk", "8m") as folder:
        database = open_journal(folder).database
        fill_disk(folder)
        os.truncate(folder / "ballast", (folder / "ballast").stat().st_size - free * 1024)
        assert (unwritable(folder / "journal") is not None) is is_full
        with pytest.raises(JournalFull) as raised:
            database.write(failing(IOERR_WRITE))
        assert raised.value.full is error_is_for_want_of_space
        database.close()


@needs_root
def test_what_keeps_the_journal_from_being_written_is_named(disk: tuple[Path, bool]) -> None:
    folder, full = disk
    database = open_journal(folder).database
    assert (unwritable(folder / "journal"), database.find_trouble()) == (None, None)
    if full:
        fill_disk(folder)
        assert "is full: free some space" in str(unwritable(folder / "journal"))
        assert "is full" in str(database.find_trouble())
        (folder / "ballast").unlink()
    with read_only(folder):
        assert "is on a read-only file system" in str(unwritable(folder / "journal"))
    assert "cannot be looked at: No such file" in str(unwritable(folder / "absent" / "journal"))
    assert database.find_trouble() is None


@needs_root
def test_a_journal_that_was_opened_on_a_read_only_disk_is_written_as_soon_as_it_can_be(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "8m") as folder:
        open_journal(folder).database.close()
        with read_only(folder):
            database = open_journal(folder).database
            assert "was opened on a read-only disk" in str(database.trouble)
            assert "read-only file system" in str(database.find_trouble())
        copy = database.connection
        assert database.find_trouble() is None
        with pytest.raises(sqlite3.ProgrammingError):
            copy.execute("SELECT 1")
        database.set_meta(name="gpu-1")
        assert open_journal(folder).database.meta("name") == "gpu-1"
        database.close()


def test_a_look_writes_only_after_a_change_failed_and_until_one_does_not(tmp_path: Path) -> None:
    database = open_journal(tmp_path).database
    assert database.find_trouble() is None
    assert database.meta("written_again") is None
    forbid_writing(database)
    with pytest.raises(JournalFull):
        database.set_meta(name="gpu-1")
    assert "cannot be written" in str(database.find_trouble())
    database.connection.execute("PRAGMA query_only = OFF")
    assert (database.find_trouble(), database.trouble) == (None, None)
    assert database.meta("written_again") is not None


# Damage


def delete(journal: Path) -> None:
    journal.unlink()


def move(journal: Path) -> None:
    journal.rename(journal.with_name("elsewhere"))


def replace(journal: Path) -> None:
    copy = journal.with_name("copy")
    shutil.copy(journal, copy)
    copy.replace(journal)


@pytest.mark.parametrize("change", [delete, move, replace])
def test_a_journal_that_was_deleted_or_replaced_under_the_agent_is_damaged_until_it_is_begun_anew(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    database = open_journal(tmp_path).database
    database.check()
    before, old = database.journal_id, database.connection
    change(tmp_path / "journal")
    with pytest.raises(JournalDamaged):
        database.set_meta(name="gpu-1")
    with pytest.raises(JournalDamaged):
        database.check()
    database.begin_anew("it was deleted")
    database.check()
    database.set_meta(name="gpu-1")
    assert database.journal_id not in ("", before)
    with pytest.raises(sqlite3.ProgrammingError):
        old.execute("SELECT 1")


def test_a_read_that_finds_damage_is_told_to_every_thread(tmp_path: Path) -> None:
    database = open_journal(tmp_path).database
    database.set_meta(token="t")
    database.connection.execute("UPDATE meta SET value = CAST(x'ff' AS TEXT) WHERE key = 'token'")
    with pytest.raises(JournalDamaged):
        database.meta("token")
    with pytest.raises(JournalDamaged):
        database.check()


def test_a_statement_that_is_wrong_is_the_programs_fault_and_no_ones_disk(tmp_path: Path) -> None:
    database = open_journal(tmp_path).database
    for act in (database.read, lambda statement: database.write(lambda connection: connection.execute(statement))):
        with pytest.raises(sqlite3.OperationalError, match="syntax error"):
            act("SELEKT")
    database.check()
    assert database.trouble is None


def test_a_closed_journal_can_be_opened_by_another_process_and_not_used_by_this_one(tmp_path: Path) -> None:
    database = open_journal(tmp_path).database
    database.close()
    with pytest.raises(sqlite3.ProgrammingError):
        database.connection.execute("SELECT 1")


def make_older(folder: Path) -> Path:
    """A journal as 0.1.0 left it, which kept no version, with a name in it."""
    journal = open_journal(folder)
    journal.database.set_meta(name="gpu-1")
    journal.database.connection.execute("PRAGMA user_version = 0")
    journal.database.close()
    return journal.database.path


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


@needs_root
def test_an_older_journal_on_a_full_disk_is_upgraded_as_soon_as_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "8m") as folder:
        path = make_older(folder)
        fill_disk(folder)
        database = Database(path, ReserveFile(folder / "reserve"))
        assert "cannot be upgraded" in str(database.trouble)
        assert database.meta("name") == "gpu-1"
        with pytest.raises(JournalFull) as raised:
            database.set_meta(name="gpu-2")
        assert "is full: free some space" in str(raised.value)
        assert "is full" in str(database.find_trouble())
        assert version(path) == 0
        (folder / "ballast").unlink()
        assert database.find_trouble() is None
        database.set_meta(name="gpu-2")
        database.close()
        assert version(path) == VERSION and path.with_name(f"{path.name}.version-0").exists()
        assert open_journal(folder).database.meta("name") == "gpu-2"


@needs_root
def test_an_older_journal_on_a_full_disk_is_upgraded_in_the_room_that_is_kept_back(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "8m") as folder:
        path, reserve = make_older(folder), ReserveFile(folder / "reserve", 1 << 20)
        reserve.restore()
        fill_disk(folder)
        database = Database(path, reserve)
        assert database.trouble is None and version(path) == VERSION
        database.set_meta(name="gpu-2")
        database.close()
