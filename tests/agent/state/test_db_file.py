"""The journal's file: made in one transaction, checked when it is opened, kept and begun anew where it is damaged."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from muster.files.sqlite_errors import is_unwritable
from muster_agent.state.db_file import KEPT_DAMAGED_FILES, TABLES, VERSION, begun_anew, damaged, is_copy, opened
from muster_agent.state.dir import StateError
from tests.fixtures.small_disk import fill, needs_root, read_only, small_disk

IDENTITY = {
    "worker_id": "1b671a64-40d5-491e-99b0-da01ff1f3341",
    "token": "mst_wrk_secret",
    "boots": f"{'a' * 32} {'b' * 32}",
    "gpus": '[{"index":0}]',
}


def meta(path: Path) -> dict[str, str]:
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT key, value FROM meta"))


def remember(path: Path, **values: str) -> None:
    with closing(opened(path)) as connection:
        connection.executemany("INSERT INTO meta VALUES (?, ?)", values.items())


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """One in use: pages of many images that were pulled, and what identifies the worker."""
    path = tmp_path / "journal.sqlite3"
    with closing(opened(path)) as connection:
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO pulled VALUES (?)", [(f"sha256:{n:064d}",) for n in range(2000)])
        connection.executemany("INSERT INTO meta VALUES (?, ?)", IDENTITY.items())
        connection.execute("COMMIT")
    (tmp_path / "reserve").write_bytes(b"\0")
    return path


def page_of(path: Path, table: str) -> tuple[int, int]:
    """Where the root of a table begins, and the size of a page."""
    with closing(sqlite3.connect(path)) as connection:
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
    return (root - 1) * size, size


def overwrite(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def garbled(path: Path) -> None:
    random, content = Random(7), bytearray(path.read_bytes())
    for _ in range(2000):
        content[random.randrange(100, len(content))] = random.randrange(256)
    path.write_bytes(content)


def zero_page(path: Path) -> None:
    at, size = page_of(path, "pulled")
    overwrite(path, at, bytes(size))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut in the middle of a page": lambda path: os.truncate(path, path.stat().st_size - 1000),
    "empty": lambda path: os.truncate(path, 0),
    "garbled": garbled,
    "a page of zeros": zero_page,
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "not a database": lambda path: path.write_bytes(b"not a database" * 1000),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_journal_is_kept_and_a_new_one_begun_with_one_line_in_the_log(
    journal: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    before = meta(journal)["journal_id"]
    damage(journal)
    content = journal.read_bytes()
    opened(journal).close()
    (kept,) = damaged(journal)
    assert kept.read_bytes() == content
    assert meta(journal)["journal_id"] != before
    assert meta(journal).items() <= (IDENTITY | {"journal_id": meta(journal)["journal_id"]}).items()
    (said,) = caplog.records
    assert said.exc_info is None and str(kept) in said.getMessage() and "\n" not in said.getMessage()
    opened(journal).close()
    assert damaged(journal) == [kept], "the new one is whole"


def test_a_failed_quick_check_is_damage_also_where_all_that_is_read_can_be_read(journal: Path) -> None:
    """The number of free pages in the header is wrong (sqlite.org/fileformat2.html, 1.3.9)."""
    overwrite(journal, 36, (7).to_bytes(4, "big"))
    with closing(sqlite3.connect(journal)) as connection:
        assert connection.execute("PRAGMA quick_check").fetchone()[0] != "ok"
        assert connection.execute("SELECT count(*) FROM meta").fetchone()[0] == 5
    opened(journal).close()
    assert len(damaged(journal)) == 1


def test_what_identifies_the_worker_is_taken_over_as_far_as_it_can_be_read(journal: Path) -> None:
    remember(journal, inbox="7", last_contact="7.0")
    zero_page(journal)
    opened(journal).close()
    found = meta(journal)
    assert {key: found[key] for key in IDENTITY} == IDENTITY
    assert set(found) == {*IDENTITY, "journal_id"}, "and nothing else"


@pytest.mark.parametrize(("key", "value"), [("token", "mst_\x07"), ("boots", "a" * 31), ("worker_id", "")])
def test_what_is_not_what_it_should_be_is_not_taken_over(tmp_path: Path, key: str, value: str) -> None:
    path = tmp_path / "journal.sqlite3"
    remember(path, **(IDENTITY | {key: value}))
    begun_anew(path, "it holds what is none of it").close()
    assert set(meta(path)) == {*IDENTITY, "journal_id"} - {key}


def test_what_is_left_beside_a_damaged_journal_is_no_part_of_the_new_one(journal: Path) -> None:
    for suffix in ("-journal", "-wal"):
        journal.with_name(journal.name + suffix).write_bytes(b"of the damaged one")
    journal.write_bytes(b"not a database" * 1000)
    opened(journal).close()
    (kept,) = damaged(journal)
    assert kept.with_name(kept.name + "-wal").read_bytes() == b"of the damaged one"


@pytest.mark.parametrize("suffix", ["-journal", "-wal"])
def test_a_cut_off_file_beside_the_journal_is_no_damage(journal: Path, suffix: str) -> None:
    journal.with_name(journal.name + suffix).write_bytes(b"\xd9\xd5\x05\xf9")
    opened(journal).close()
    assert damaged(journal) == [] and meta(journal).items() >= IDENTITY.items()


def test_a_few_damaged_journals_are_kept_the_newest(journal: Path) -> None:
    for day in range(1, 9):
        journal.with_name(f"{journal.name}.damaged-202601{day:02d}T000000Z").write_text("")
    journal.write_bytes(b"not a database" * 1000)
    opened(journal).close()
    assert len(damaged(journal)) == KEPT_DAMAGED_FILES
    assert damaged(journal)[0].name.endswith("20260105T000000Z")


def test_a_journal_of_a_newer_agent_is_left_as_it_is(journal: Path) -> None:
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    content = journal.read_bytes()
    with pytest.raises(StateError, match=r"newer agent .* install that release again, or give another --state-dir"):
        opened(journal)
    assert journal.read_bytes() == content
    assert {each.name for each in journal.parent.iterdir()} == {journal.name, "reserve"}, "no copy either"


def make_older(path: Path) -> None:
    """As 0.1.0 left it, which kept no version."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 0")


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_a_journal_of_an_agent_without_a_version_is_upgraded_and_kept(
    journal: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_older(journal)
    before = meta(journal)
    caplog.set_level("INFO")
    opened(journal).close()
    kept = journal.with_name(f"{journal.name}.version-0")
    assert (version(journal), version(kept)) == (VERSION, 0)
    assert meta(journal) == meta(kept) == before
    (said,) = caplog.messages
    assert f"is upgraded to version {VERSION}" in said and str(kept) in said
    opened(journal).close()
    assert len(caplog.messages) == 1


SPOILED = {
    **{
        f"no table {name}": f"DROP TABLE {name}"
        for name in ("deployments", "operations", "spool", "pulled", "saved_logs")
    },
    **{
        f"no column {name}": f"ALTER TABLE {name.replace('.', ' DROP COLUMN ')}"
        for name in ("deployments.port", "deployments.report", "operations.begun", "spool.replaces", "saved_logs.name")
    },
    "no key": "ALTER TABLE pulled RENAME TO old; CREATE TABLE pulled (image_id TEXT)",
    "an unknown column that is required": "DROP TABLE saved_logs; CREATE TABLE saved_logs (id INTEGER PRIMARY KEY"
    " AUTOINCREMENT, instance_id TEXT, name TEXT, deployment_id TEXT, saved_at REAL, size INTEGER NOT NULL)",
}


@pytest.mark.parametrize("found", [0, VERSION])
@pytest.mark.parametrize("script", SPOILED.values(), ids=SPOILED)
def test_a_journal_without_a_table_or_column_is_damaged_of_whatever_version(
    journal: Path, script: str, found: int, caplog: pytest.LogCaptureFixture
) -> None:
    """What was in it is lost, so the new one has another `journal_id`."""
    with closing(sqlite3.connect(journal)) as connection:
        connection.executescript(f"{script}; PRAGMA user_version = {found}")
    content, before = journal.read_bytes(), meta(journal)
    opened(journal).close()
    (kept,) = damaged(journal)
    assert kept.read_bytes() == content
    assert meta(journal).items() >= IDENTITY.items()
    assert meta(journal)["journal_id"] != before["journal_id"]
    (said,) = caplog.messages
    assert "is damaged (its table" in said or "is damaged (it has no table" in said or "is damaged (the key" in said
    assert not list(journal.parent.glob("*.version-*"))


def test_a_journal_that_lost_every_table_is_damaged(journal: Path) -> None:
    journal.unlink()
    with closing(sqlite3.connect(journal)) as connection:
        connection.executescript("CREATE TABLE a (b); DROP TABLE a; VACUUM")
    assert journal.stat().st_size > 0
    opened(journal).close()
    assert len(damaged(journal)) == 1


def test_a_journal_that_0_1_0_was_killed_in_making_is_gone_on_with(tmp_path: Path) -> None:
    """It made one table after the other. Nothing was stored yet, so nothing is lost."""
    path = tmp_path / "journal.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(TABLES[: TABLES.index("CREATE TABLE IF NOT EXISTS operations")])
    opened(path).close()
    assert damaged(path) == [] and version(path) == VERSION
    assert set(meta(path)) == {"journal_id"}


def test_an_upgraded_journal_has_the_tables_of_a_new_one(journal: Path, tmp_path: Path) -> None:
    make_older(journal)
    opened(journal).close()
    opened(tmp_path / "new.sqlite3").close()
    with closing(sqlite3.connect(journal)) as older, closing(sqlite3.connect(tmp_path / "new.sqlite3")) as new:
        shape = "SELECT m.name, c.* FROM sqlite_master m, pragma_table_info(m.name) c ORDER BY m.name, c.cid"
        assert older.execute(shape).fetchall() == new.execute(shape).fetchall()


def test_a_new_journal_is_one_transaction(tmp_path: Path) -> None:
    """Each has to reach the disk, which takes tens of milliseconds on some."""
    path = tmp_path / "journal.sqlite3"
    opened(path).close()
    assert int.from_bytes(path.read_bytes()[24:28], "big") == 1, (
        "SQLite counts the transactions of a file in its header"
    )
    opened(path).close()
    assert int.from_bytes(path.read_bytes()[24:28], "big") == 1


# Disks that cannot be written, and files of somebody else


@needs_root
def test_a_journal_on_a_read_only_disk_can_be_read_and_not_written(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        path = disk / "journal.sqlite3"
        remember(path, **IDENTITY)
        with read_only(disk), closing(opened(path)) as connection:
            assert is_copy(connection)
            assert dict(connection.execute("SELECT key, value FROM meta")).items() >= IDENTITY.items()
            with pytest.raises(sqlite3.OperationalError) as raised:
                connection.execute("DELETE FROM meta")
            assert is_unwritable(raised.value)
        with closing(opened(path)) as connection:
            assert not is_copy(connection)


@needs_root
def test_a_change_that_a_killed_process_left_on_a_read_only_disk_is_rolled_back_in_the_copy(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        path = disk / "journal.sqlite3"
        remember(path, name="before")
        with closing(opened(path)) as connection:
            connection.execute("PRAGMA cache_size = 1")
            connection.execute("BEGIN")
            connection.execute("UPDATE meta SET value = 'after' WHERE key = 'name'")
            connection.executemany("INSERT INTO pulled VALUES (?)", [(f"{n:0300d}",) for n in range(200)])
            for each in disk.glob("journal.sqlite3*"):
                shutil.copy(each, tmp_path)
        for name in ("journal.sqlite3", "journal.sqlite3-journal"):
            shutil.copy(tmp_path / name, disk / name)
        with read_only(disk), closing(opened(path)) as connection:
            assert dict(connection.execute("SELECT key, value FROM meta"))["name"] == "before"


@needs_root
def test_a_damaged_journal_that_cannot_be_kept_ends_the_start_with_one_sentence(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        path = disk / "journal.sqlite3"
        path.write_bytes(b"not a database" * 1000)
        with read_only(disk), pytest.raises(StateError, match=r"damaged .*, and no new one can be begun .*Read-only"):
            opened(path)


def test_a_journal_that_is_no_file_ends_the_start_with_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite3").mkdir()
    with pytest.raises(StateError, match=r"journal\.sqlite3 of the state folder: is a directory: move it away"):
        opened(tmp_path / "journal.sqlite3")


@needs_root
def test_somebody_elses_journal_ends_the_start_with_whose_it_is(journal: Path) -> None:
    journal.chmod(0o600)
    # its folder may be private
    loaded = "import os; from pathlib import Path; from muster_agent.state.db_file import opened"
    script = f"{loaded}; os.setgroups([]); os.setuid(65534); opened(Path({str(journal)!r}))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "it belongs to root" in ended.stderr or "permission denied" in ended.stderr.lower()


@needs_root
def test_an_older_journal_on_a_read_only_disk_is_read_as_if_it_were_upgraded(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        path = disk / "journal.sqlite3"
        remember(path, **IDENTITY)
        make_older(path)
        content = path.read_bytes()
        with read_only(disk), closing(opened(path)) as connection:
            assert is_copy(connection)
            assert connection.execute("PRAGMA user_version").fetchone()[0] == VERSION
            assert dict(connection.execute("SELECT key, value FROM meta")).items() >= IDENTITY.items()
        assert path.read_bytes() == content
        opened(path).close()
        assert version(path) == VERSION


@needs_root
def test_an_older_journal_that_cannot_be_upgraded_is_read_and_stays_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        path = disk / "journal.sqlite3"
        remember(path, **IDENTITY)
        make_older(path)
        content = path.read_bytes()
        fill(disk)
        with closing(opened(path)) as connection:
            assert is_copy(connection)
            assert dict(connection.execute("SELECT key, value FROM meta")).items() >= IDENTITY.items()
            with pytest.raises(sqlite3.OperationalError) as raised:
                connection.execute("DELETE FROM meta")
            assert is_unwritable(raised.value)
        (said,) = caplog.messages
        assert f"{path} is of an older agent, and cannot be upgraded" in said
        assert path.read_bytes() == content
        assert {each.name for each in disk.iterdir()} == {path.name, "ballast"}
