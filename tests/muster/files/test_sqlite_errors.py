"""What an error of SQLite says of its file, by its code and, on Python 3.10, by its message alone."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from muster.files import sqlite_errors as e
from muster.files.sqlite_errors import OpenedFile, code_of, code_of_message, is_damage, is_unwritable, primary_code_of
from tests.fixtures.small_disk import fill, needs_root, read_only, small_disk

PYTHON_3_11 = hasattr(sqlite3, "SQLITE_ERROR")


def error(code: int | None, message: str = "") -> sqlite3.Error:
    made = sqlite3.OperationalError(message)
    if code is not None:
        made.sqlite_errorcode = code
    return made


@pytest.mark.parametrize(
    ("code", "message", "damage", "cannot_write"),
    [
        (e.CORRUPT, "", True, False),
        (e.NOTADB, "", True, False),
        (e.FORMAT, "", True, False),
        (e.READONLY_DBMOVED, "", True, True),
        (e.IOERR_SHORT_READ, "", True, True),
        (e.ERROR, "no such table: meta", True, False),
        (e.ERROR, "table spool has no column named replaces", True, False),
        (None, "Could not decode to UTF-8 column 'value'", True, False),
        (e.ERROR, 'near "x": syntax error', False, False),
        (e.FULL, "", False, True),
        (e.READONLY, "", False, True),
        (e.READONLY | 6 << 8, "", False, True),  # READONLY_DIRECTORY
        (e.CANTOPEN, "", False, True),
        (e.IOERR | 3 << 8, "", False, True),  # IOERR_WRITE
        (e.BUSY, "", False, True),
        (e.PERM, "", False, True),
        (e.PROTOCOL, "", False, True),
        (19, "", False, False),  # CONSTRAINT
    ],
)
def test_an_error_is_the_files_or_the_disks_or_the_programs(
    code: int | None, message: str, damage: bool, cannot_write: bool
) -> None:
    assert (is_damage(error(code, message)), is_unwritable(error(code, message))) == (damage, cannot_write)


def test_each_code_is_the_one_that_sqlite_gives_it() -> None:
    names = [name for name in vars(e) if name.isupper() and isinstance(getattr(e, name), int) and name != "HAS_CODES"]
    assert len(names) == 13
    assert e.HAS_CODES is PYTHON_3_11
    if PYTHON_3_11:  # Python 3.10 has no names for them
        assert {name: getattr(e, name) for name in names} == {
            name: getattr(sqlite3, f"SQLITE_{name}") for name in names
        }


# Real errors. Each is classified by its code, where it has one, and by its message.


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(make(tmp_path / "state" / "db")) as connection:
        yield connection


def make(path: Path) -> sqlite3.Connection:
    """A database of 64 pages."""
    path.parent.mkdir(exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None, timeout=0)
    connection.executescript("PRAGMA cache_size = 4; CREATE TABLE kept (body BLOB)")
    connection.execute("INSERT INTO kept VALUES (zeroblob(262144))")
    return connection


def write(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO kept VALUES (randomblob(20000))")


def read(connection: sqlite3.Connection) -> None:
    connection.execute("SELECT * FROM kept").fetchall()


def raised(act: Callable[[sqlite3.Connection], None], connection: sqlite3.Connection) -> sqlite3.Error:
    with pytest.raises(sqlite3.Error) as caught:
        act(connection)
    return caught.value


def check(found: sqlite3.Error, code: int | None, *, damage: bool, cannot_write: bool) -> None:
    """By the code that Python has, and by the message alone, as Python 3.10 has it."""
    alone = type(found)(*found.args)
    assert (primary_code_of(found), code_of_message(found), code_of_message(alone)) == (code, code, code)
    assert (is_damage(found), is_unwritable(found)) == (damage, cannot_write)
    if code is not None:
        alone.sqlite_errorcode = code_of_message(alone)  # type: ignore[assignment]
    assert (is_damage(alone), is_unwritable(alone)) == (damage, cannot_write)


def test_a_database_that_has_no_room(database: sqlite3.Connection) -> None:
    database.execute("PRAGMA max_page_count = 1")
    check(raised(write, database), e.FULL, damage=False, cannot_write=True)


@needs_root
@pytest.mark.parametrize("free", [0, 8192])
def test_a_full_disk(tmp_path: Path, free: int) -> None:
    with small_disk(tmp_path / "disk", "8m") as folder, closing(make(folder / "db")) as database:
        fill(folder)
        os.truncate(folder / "ballast", (folder / "ballast").stat().st_size - free)
        check(raised(write, database), e.FULL, damage=False, cannot_write=True)
        read(database)


@needs_root
def test_a_disk_that_became_read_only(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "8m") as folder, closing(make(folder / "db")) as database:
        with read_only(folder), closing(sqlite3.connect(folder / "db")) as later:
            check(raised(write, later), e.READONLY, damage=False, cannot_write=True)
        write(database)


@needs_root
def test_a_disk_that_became_read_only_under_an_open_database(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    with closing(make(folder / "db")) as database, read_only(folder):
        check(raised(write, database), e.CANTOPEN, damage=False, cannot_write=True)


def test_a_connection_that_may_not_write(database: sqlite3.Connection) -> None:
    database.execute("PRAGMA query_only = ON")
    check(raised(write, database), e.READONLY, damage=False, cannot_write=True)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.Error) as caught:
        sqlite3.connect(tmp_path / "absent" / "db")
    check(caught.value, e.CANTOPEN, damage=False, cannot_write=True)


def test_a_database_that_another_connection_holds(database: sqlite3.Connection, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "state" / "db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        check(raised(write, database), e.BUSY, damage=False, cannot_write=True)


@pytest.mark.parametrize(
    ("size", "code"), [(50, e.CORRUPT), (20_000, e.CORRUPT), (20_001, e.CORRUPT), (0, e.ERROR)], ids=str
)
def test_a_file_that_was_cut_off(database: sqlite3.Connection, tmp_path: Path, size: int, code: int) -> None:
    os.truncate(tmp_path / "state" / "db", size)
    check(raised(read, database), code, damage=True, cannot_write=False)


def test_a_file_that_is_something_else(database: sqlite3.Connection, tmp_path: Path) -> None:
    (tmp_path / "state" / "db").write_bytes(b"something else, " * 4096)
    check(raised(read, database), e.NOTADB, damage=True, cannot_write=False)


def test_a_schema_that_cannot_be_read(database: sqlite3.Connection, tmp_path: Path) -> None:
    database.executescript("PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = 'CREATE TABL kept'")
    with closing(sqlite3.connect(tmp_path / "state" / "db")) as later:
        check(raised(read, later), e.CORRUPT, damage=True, cannot_write=False)


@pytest.mark.parametrize("statement", ["SELECT * FROM absent", "SELECT absent FROM kept"])
def test_a_table_or_column_that_is_missing(database: sqlite3.Connection, statement: str) -> None:
    check(
        raised(lambda connection: list(connection.execute(statement)), database),  # type: ignore[arg-type]
        e.ERROR,
        damage=True,
        cannot_write=False,
    )


def test_text_that_is_not_utf_8(database: sqlite3.Connection) -> None:
    database.execute("UPDATE kept SET body = CAST(x'ff' AS TEXT)")
    check(raised(read, database), None, damage=True, cannot_write=False)


@pytest.mark.parametrize(
    ("statement", "code"),
    [("SELEC", e.ERROR), ("COMMIT", e.ERROR)],
)
def test_a_mistake_of_the_program(database: sqlite3.Connection, statement: str, code: int | None) -> None:
    found = raised(lambda connection: list(connection.execute(statement)), database)  # type: ignore[arg-type]
    check(found, code, damage=False, cannot_write=False)


def test_a_broken_constraint_and_a_closed_connection_are_the_programs_mistake(database: sqlite3.Connection) -> None:
    database.execute("CREATE UNIQUE INDEX once ON kept (body)")
    with pytest.raises(sqlite3.IntegrityError) as twice:
        database.execute("INSERT INTO kept VALUES (zeroblob(262144))")
    database.close()
    with pytest.raises(sqlite3.ProgrammingError) as closed:
        read(database)
    for found in (twice.value, closed.value):
        assert code_of_message(found) is None
        assert not is_damage(found)
        assert not is_unwritable(found)


# A file that is another one now


def delete(path: Path) -> None:
    path.unlink()


def move(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def replace(path: Path) -> None:
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    copy.replace(path)


def delete_its_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


@pytest.mark.parametrize("change", [delete, move, replace, delete_its_folder])
def test_a_file_that_was_deleted_or_replaced_has_a_message_that_tells_less_than_its_code(
    database: sqlite3.Connection, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    path = tmp_path / "state" / "db"
    opened = OpenedFile.at(path)
    assert not opened.is_gone()
    change(path)
    found = raised(write, database)
    assert opened.is_gone()
    assert (is_unwritable(found), code_of_message(found)) == (True, e.READONLY)
    if PYTHON_3_11:
        assert (code_of(found), is_damage(found)) == (e.READONLY_DBMOVED, True)
    else:  # the program compares the files
        assert (code_of(found), is_damage(found)) == (e.READONLY, False)


def test_a_file_that_cannot_be_looked_at_is_not_gone(tmp_path: Path) -> None:
    path = tmp_path / "db"
    path.touch()
    opened = OpenedFile.at(path)
    path.unlink()
    path.symlink_to(path.name)  # a loop
    assert not opened.is_gone()
