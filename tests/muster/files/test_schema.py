"""A file's schema: made in one transaction, upgraded step by step with the older file kept, refused if it is newer."""

from __future__ import annotations

import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from muster.files.schema import NewerSchema, Schema, Step
from tests.fixtures.small_disk import fill, needs_root, small_disk

TABLES = """
CREATE TABLE IF NOT EXISTS notes (id TEXT PRIMARY KEY, body TEXT NOT NULL, tag TEXT);
CREATE TABLE IF NOT EXISTS tags (name TEXT PRIMARY KEY);
"""
OLDEST = """
CREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT NOT NULL);
INSERT INTO notes VALUES ('1', 'one'), ('2', 'two');
"""


def add_tag(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE notes ADD COLUMN tag TEXT")
    connection.execute("UPDATE notes SET tag = 'old'")


def add_tags(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE tags (name TEXT PRIMARY KEY)")
    connection.execute("INSERT INTO tags SELECT DISTINCT tag FROM notes")


SCHEMA = Schema(TABLES, (add_tag, add_tags))
UPGRADED = (2, [("1", "one", "old"), ("2", "two", "old")], [("old",)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of version 0."""
    path = tmp_path / "notes.sqlite3"
    run(path, OLDEST)
    return path


def run(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


def prepare(path: Path, schema: Schema = SCHEMA) -> Path | None:
    with closing(sqlite3.connect(path)) as connection:
        return schema.prepare(connection, path)


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def content(path: Path) -> tuple[int, list[tuple[str, str, str]], list[tuple[str]]]:
    with closing(sqlite3.connect(path)) as connection:
        notes = connection.execute("SELECT id, body, tag FROM notes ORDER BY id").fetchall()
        return version(path), notes, connection.execute("SELECT name FROM tags").fetchall()


def names(path: Path) -> set[str]:
    return {each.name for each in path.parent.iterdir()}


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_a_new_file_has_the_current_version_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "notes.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        assert SCHEMA.prepare(connection, path, "INSERT INTO tags VALUES ('first')") is None
    assert content(path) == (2, [], [("first",)])
    assert names(path) == {"notes.sqlite3"}
    assert int.from_bytes(path.read_bytes()[24:28], "big") == 1, (
        "SQLite counts the transactions of a file in its header"
    )
    before = path.read_bytes()
    assert prepare(path) is None and path.read_bytes() == before


def test_an_older_file_is_upgraded_and_kept_beside_it(path: Path) -> None:
    before = dump(path)
    kept = prepare(path)
    assert kept == path.with_name("notes.sqlite3.version-0")
    assert content(path) == UPGRADED
    assert (version(kept), dump(kept)) == (0, before)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert names(path) == {"notes.sqlite3", kept.name}
    assert prepare(path) is None, "once"


def test_a_file_of_a_version_in_between_takes_the_steps_that_are_left(path: Path) -> None:
    prepare(
        path, Schema("CREATE TABLE IF NOT EXISTS notes (id TEXT PRIMARY KEY, body TEXT NOT NULL, tag TEXT)", (add_tag,))
    )
    run(path, "UPDATE notes SET tag = 'mine'")
    kept = prepare(path)
    assert kept is not None and (kept.name, version(kept)) == ("notes.sqlite3.version-1", 1)
    assert content(path)[2] == [("mine",)]


def test_what_is_in_the_log_of_a_killed_program_is_upgraded_and_kept_too(path: Path, tmp_path: Path) -> None:
    left = tmp_path / "left"
    left.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript("INSERT INTO notes VALUES ('3', 'three')")
        for each in tmp_path.glob("notes.sqlite3*"):
            (left / each.name).write_bytes(each.read_bytes())
    kept = prepare(left / path.name)
    assert kept is not None and names(kept) == {"notes.sqlite3", kept.name}
    assert len(content(left / path.name)[1]) == 3
    assert any("'three'" in line for line in dump(kept))


def failing(step: Step) -> Step:
    """A step that is done, and after which the program ends before the transaction does; not in memory."""

    def fails(connection: sqlite3.Connection) -> None:
        step(connection)
        if connection.execute("PRAGMA database_list").fetchone()[2]:
            raise KeyboardInterrupt

    return fails


@pytest.mark.parametrize(
    ("steps", "left"), [((failing(add_tag), add_tags), 0), ((add_tag, failing(add_tags)), 1)], ids=["first", "second"]
)
def test_an_upgrade_that_is_cut_off_is_gone_on_with(path: Path, steps: tuple[Step, ...], left: int) -> None:
    before = dump(path)
    with pytest.raises(KeyboardInterrupt):
        prepare(path, Schema(TABLES, steps))
    assert version(path) == left
    kept = prepare(path)
    assert kept is not None and kept.name == f"notes.sqlite3.version-{left}"
    assert content(path) == UPGRADED
    assert dump(path.with_name("notes.sqlite3.version-0")) == before


KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from tests.muster.files.test_schema import TABLES, Schema, add_tag, add_tags
def killed(connection):
    add_tags(connection)
    connection.execute("PRAGMA cache_spill = 1")
    if connection.execute("PRAGMA database_list").fetchone()[2]:
        os.kill(os.getpid(), signal.SIGKILL)
path = Path(sys.argv[1])
Schema(TABLES, (add_tag, killed)).prepare(sqlite3.connect(path), path)
"""


def test_an_upgrade_that_is_killed_is_gone_on_with(path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert version(path) == 1
    prepare(path)
    assert content(path) == UPGRADED


def test_what_a_killed_copy_left_is_no_part_of_the_next(path: Path) -> None:
    for suffix in ("", "-journal", "-wal"):
        path.with_name(f"notes.sqlite3.version-0.new{suffix}").write_bytes(b"half" * 1000)
    before = dump(path)
    kept = prepare(path)
    assert kept is not None and dump(kept) == before
    assert names(path) == {"notes.sqlite3", "notes.sqlite3.version-0"}


def test_the_copy_is_of_the_file_that_is_upgraded_now(path: Path) -> None:
    path.with_name("notes.sqlite3.version-0").write_bytes(b"of an earlier upgrade")
    before = dump(path)
    kept = prepare(path)
    assert kept is not None and dump(kept) == before


@pytest.mark.parametrize("found", [3, 99, 2**31 - 1])
def test_a_newer_file_is_refused_and_stays_as_it_is(path: Path, found: int) -> None:
    run(path, f"DROP TABLE notes; PRAGMA user_version = {found}")
    before = path.read_bytes()
    with pytest.raises(NewerSchema, match=f"schema {found}, and this one knows 2"):
        prepare(path)
    assert path.read_bytes() == before and names(path) == {path.name}


SPOILED: dict[str, tuple[str, str]] = {
    "a table": ("DROP TABLE tags", "it has no table tags"),
    "a column": ("ALTER TABLE notes DROP COLUMN tag", "its table notes has no column tag"),
    "a key": ("DROP TABLE tags; CREATE TABLE tags (name TEXT)", "the key of its table tags is another one"),
    "a required column": (
        "DROP TABLE tags; CREATE TABLE tags (name TEXT PRIMARY KEY, more TEXT NOT NULL)",
        "its table tags requires the column more, which may be absent",
    ),
    "no value may be absent": (
        "DROP TABLE notes; CREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT NOT NULL, tag TEXT NOT NULL)",
        "its table notes requires the column tag, which may be absent",
    ),
    "every table": ("DROP TABLE tags; DROP TABLE notes", "it has no table notes"),
    "its version": ("PRAGMA user_version = -1", "its version is -1"),
}


@pytest.mark.parametrize(("script", "told"), SPOILED.values(), ids=SPOILED)
def test_a_file_that_lacks_something_is_damaged(path: Path, script: str, told: str) -> None:
    prepare(path)
    run(path, script)
    before = path.read_bytes()
    with pytest.raises(sqlite3.DatabaseError, match=told):
        prepare(path)
    assert path.read_bytes() == before


def test_a_column_that_may_be_left_out_is_no_damage(path: Path) -> None:
    prepare(path)
    run(path, "ALTER TABLE notes ADD COLUMN seen TEXT; ALTER TABLE notes ADD COLUMN n INTEGER NOT NULL DEFAULT 0")
    assert prepare(path) is None


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("ALTER TABLE notes DROP COLUMN body", "its table notes has no column body"),
        ("DROP TABLE notes; CREATE TABLE letters (a)", "no such table: notes"),
    ],
)
def test_an_older_file_that_lacks_something_is_found_before_it_is_changed(path: Path, script: str, error: str) -> None:
    run(path, script)
    before = path.read_bytes()
    with pytest.raises(sqlite3.DatabaseError, match=error):
        prepare(path)
    assert path.read_bytes() == before and names(path) == {path.name}


def test_a_first_start_that_was_cut_off_is_gone_on_with(tmp_path: Path) -> None:
    """0.1.0 made its tables one after the other."""
    path = tmp_path / "notes.sqlite3"
    run(path, "CREATE TABLE tags (name TEXT PRIMARY KEY)")
    assert prepare(path) is None
    assert content(path) == (2, [], [])


def test_to_verify_changes_nothing(path: Path) -> None:
    before = path.read_bytes()
    with closing(sqlite3.connect(path)) as connection:
        SCHEMA.verify(connection)
        with closing(SCHEMA.rehearsed(connection)) as copy:
            assert copy.execute("SELECT name FROM tags").fetchall() == [("old",)]
    assert path.read_bytes() == before and names(path) == {path.name}


@needs_root
@pytest.mark.parametrize("free", [0, 4096, 8192, 12288, 16384])
def test_an_upgrade_that_has_no_room_leaves_a_whole_file(tmp_path: Path, free: int) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        path = disk / "notes.sqlite3"
        run(path, OLDEST)
        before = dump(path)
        fill(disk)
        with (disk / "ballast").open("r+b") as ballast:
            ballast.truncate((disk / "ballast").stat().st_size - free)
        with pytest.raises((sqlite3.OperationalError, OSError)):
            prepare(path)
        assert dump(path) == before
        assert not [name for name in names(path) if ".new" in name]
        (disk / "ballast").unlink()
        prepare(path)
        assert content(path) == UPGRADED


def test_a_step_that_fails_is_found_before_the_file_is_changed(path: Path) -> None:
    def wrong(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM notes")
        connection.execute("SELECT 1 FROM nowhere")

    before = dump(path)
    with pytest.raises(sqlite3.OperationalError, match="no such table: nowhere"):
        prepare(path, Schema(TABLES, (wrong, add_tags)))
    assert dump(path) == before and names(path) == {path.name}
