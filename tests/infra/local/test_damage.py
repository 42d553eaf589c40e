"""A damaged data directory is found before a server uses it, and nothing of it is overwritten."""

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

from infra.local.damage import Damaged, Newer, check, log_of
from infra.local.store import SCHEMA, Store
from tests.fixtures import ROOT
from tests.fixtures.serve import Serve
from tests.fixtures.small_disk import fill, needs_root, small_disk

NOW = 1_800_000_000.0
STAMP = "damaged-20270115T080000Z"
PAGE, HEADER, FRAME = 4096, 32, 24 + 4096
ITEM = b'{"id": {"S": "%d"}, "text": {"S": "' + b"x" * 3000 + b'"}}'


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Fifty items, each written in a transaction of its own."""
    path = tmp_path / "muster.sqlite3"
    store = Store(path)
    for number in range(50):
        store.apply([("t", str(number), ITEM % number)])
    store.close()
    return path


@pytest.fixture
def killed(database: Path, tmp_path: Path) -> Path:
    """The files as a killed server leaves them, with twenty changes in the log."""
    store = Store(database)
    for number in range(20):
        store.apply([("t", f"late {number}", ITEM % number)])
    left = tmp_path / "left"
    left.mkdir()
    for path in (database, log_of(database)):
        shutil.copy(path, left)
    store.close()
    return left / database.name


def items(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM items").fetchone()[0])


def test_what_is_in_order_and_what_is_new_is_not_copied(database: Path, killed: Path, tmp_path: Path) -> None:
    for path in (database, killed, tmp_path / "none" / "muster.sqlite3"):
        assert check(path, NOW) is None
    assert not list(tmp_path.rglob("*damaged*"))
    assert items(killed) == 70, "SQLite has the log's changes"


def cut(content: bytearray) -> bytearray:
    return content[: len(content) * 2 // 3]


def zero_a_page(content: bytearray) -> bytearray:
    start = len(content) // PAGE // 2 * PAGE
    content[start : start + PAGE] = bytes(PAGE)
    return content


def garble(content: bytearray) -> bytearray:
    random = Random(5)
    for _ in range(60):
        content[random.randrange(PAGE, len(content))] = random.randrange(256)
    return content


def damage_an_item(content: bytearray) -> bytearray:
    at = content.rindex(b'{"id"')
    content[at : at + 1] = b"!"
    return content


def no_database(content: bytearray) -> bytearray:
    return bytearray(b"not a database" * 1000)


EVERY_DAMAGE = pytest.mark.parametrize("damage", [cut, zero_a_page, garble, damage_an_item, no_database])


@EVERY_DAMAGE
def test_a_damaged_database_is_copied_and_refused_with_the_way_out(
    database: Path, damage: Callable[[bytearray], bytearray]
) -> None:
    damaged = bytes(damage(bytearray(database.read_bytes())))
    database.write_bytes(damaged)
    with pytest.raises(Damaged) as refused:
        check(database, NOW)
    copy = database.with_name(f"{database.name}.{STAMP}")
    assert copy.read_bytes() == database.read_bytes() == damaged
    assert copy.stat().st_mode & 0o777 == 0o600
    said = str(refused.value)
    assert said.startswith(f"{database} is damaged (") and "\n" not in said
    assert f"Copies: {copy}. Put a backup in its place: python -m infra.local restore FILE" in said


def test_a_database_that_was_used_and_is_empty_is_damaged(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript("DROP TABLE items; VACUUM")
    without_its_log = database.read_bytes()
    for content in (b"", without_its_log):
        database.write_bytes(content)
        assert check(database, NOW) is None, "a first start was cut off"
        with pytest.raises(Damaged, match="it has no items"):
            check(database, NOW, was_used=True)


def test_a_server_whose_database_was_moved_away_shows_new_secrets(tmp_path: Path) -> None:
    serve = Serve(tmp_path / "data", MUSTER_ADMIN_KEY="", MUSTER_REGISTRATION_TOKEN="")
    for count in (1, 2):
        with serve:
            assert serve.log.read_text().count("First start. Keep these") == count
        for path in serve.data.glob("muster.sqlite3*"):
            path.unlink()
    assert serve.log.read_text().count("muster.sqlite3 is gone; the server begins with an empty control plane") == 1


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "muster.sqlite3"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE letters (a)")
    with pytest.raises(Damaged, match="it has no items"):
        check(path, NOW)


def make_newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA.version + 1}")


def test_a_database_of_a_newer_release_is_refused_with_the_way_out_and_stays_as_it_is(database: Path) -> None:
    make_newer(database)
    before = database.read_bytes()
    with pytest.raises(Newer) as refused:
        check(database, NOW, was_used=True)
    said = str(refused.value)
    assert said.startswith(f"{database} was written by a newer release (schema 2, and this one knows 1)")
    assert "install that release again" in said and "infra.local restore FILE" in said and "\n" not in said
    assert database.read_bytes() == before
    assert not list(database.parent.glob("*.damaged-*"))


def test_what_a_killed_newer_release_left_in_its_log_stays_there(database: Path, tmp_path: Path) -> None:
    left = tmp_path / "left"
    left.mkdir()
    store = Store(database)
    make_newer(database)
    store.apply([("t", "late", ITEM % 1)])
    for path in (database, log_of(database)):
        shutil.copy(path, left)
    store.close()
    before = {path.name: path.read_bytes() for path in left.iterdir()}
    with pytest.raises(Newer):
        check(left / database.name, NOW)
    assert {name: (left / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("version", [0, SCHEMA.version])
def test_a_database_that_lacks_a_column_is_damaged(database: Path, version: int) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(f"ALTER TABLE items DROP COLUMN item; PRAGMA user_version = {version}")
    before = database.read_bytes()
    with pytest.raises(Damaged, match="its table items has no column item"):
        check(database, NOW)
    assert database.read_bytes() == before


def test_items_that_could_be_stored_twice_are_damage(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(
            "CREATE TABLE more AS SELECT * FROM items; DROP TABLE items; ALTER TABLE more RENAME TO items"
        )
    with pytest.raises(Damaged, match="the key of its table items is another one"):
        check(database, NOW)


@pytest.mark.parametrize("frame", [0, 5, 10])
def test_answered_changes_behind_a_damaged_frame_are_said_to_be_lost(killed: Path, frame: int) -> None:
    log = log_of(killed)
    content = bytearray(log.read_bytes())
    content[HEADER + frame * FRAME + 100] ^= 1
    log.write_bytes(content)
    warning = check(killed, NOW)
    assert warning is not None and "changes follow a frame that cannot be read" in warning
    assert log.with_name(f"{log.name}.{STAMP}").read_bytes() == content
    assert 50 <= items(killed) < 70


def test_a_log_whose_header_is_damaged_is_said_to_be_lost(killed: Path) -> None:
    log = log_of(killed)
    content = bytearray(log.read_bytes())
    content[10] ^= 1
    log.write_bytes(content)
    assert "its header cannot be read" in str(check(killed, NOW))
    assert items(killed) == 50


@pytest.mark.parametrize("left", [0, 1, HEADER - 1, HEADER, HEADER + 1, FRAME, -1500])
def test_what_a_crash_leaves_of_a_log_is_no_damage(killed: Path, left: int) -> None:
    """A crash cuts the log in the middle of what was being written; nobody was answered."""
    log = log_of(killed)
    log.write_bytes(log.read_bytes()[:left])
    assert check(killed, NOW) is None
    assert 50 <= items(killed) <= 70


@EVERY_DAMAGE
def test_a_server_says_it_in_one_sentence(database: Path, damage: Callable[[bytearray], bytearray]) -> None:
    database.write_bytes(damage(bytearray(database.read_bytes())))
    command = [sys.executable, "-m", "infra.local", "serve", "--port", "0", "--data", str(database.parent)]
    ended = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"muster: {database} is damaged (") and ended.stderr.count("\n") == 1


@needs_root
@pytest.mark.parametrize("free", [0, 65536])
def test_a_full_disk_is_no_damage_and_an_upgrade_that_has_no_room_changes_nothing(tmp_path: Path, free: int) -> None:
    """SQLite needs room for the log's index to read a database, and more to write."""
    with small_disk(tmp_path / "disk", "1m") as disk:
        path = disk / "data" / "muster.sqlite3"
        path.parent.mkdir()
        store = Store(path)
        store.apply([("t", str(number), ITEM % number) for number in range(50)])
        store.close()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA user_version = 0")
        before = path.read_bytes()
        fill(disk)
        os.truncate(disk / "ballast", (disk / "ballast").stat().st_size - free)
        command = [sys.executable, "-m", "infra.local", "serve", "--port", "0", "--data", str(path.parent)]
        ended = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True)
        assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1), ended.stderr
        assert ended.stderr.startswith(f"muster: cannot use {path.parent}: ")
        assert path.read_bytes() == before
        assert not [each.name for each in path.parent.iterdir() if "damaged" in each.name or "version" in each.name]


def test_a_server_refuses_a_newer_database_in_one_sentence(database: Path) -> None:
    make_newer(database)
    before = database.read_bytes()
    command = [sys.executable, "-m", "infra.local", "serve", "--port", "0", "--data", str(database.parent)]
    ended = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"muster: {database} was written by a newer release (")
    assert ended.stderr.count("\n") == 1
    assert database.read_bytes() == before


@pytest.mark.parametrize("name", ["", "lock", "muster.sqlite3"])
def test_a_directory_that_cannot_be_used_is_said_in_one_sentence(tmp_path: Path, name: str) -> None:
    data = tmp_path / "data"
    if name:
        (data / name).mkdir(parents=True)  # where a file should be
    else:
        data.write_text("a file where a folder should be")
    command = [sys.executable, "-m", "infra.local", "serve", "--port", "0", "--data", str(data)]
    ended = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True)
    assert ended.returncode == (1 if name else 2) and "Traceback" not in ended.stderr
    assert name == "" or ended.stderr.startswith(f"muster: cannot use {data}: "), ended.stderr
