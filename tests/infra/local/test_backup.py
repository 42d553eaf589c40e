"""The commands `backup` and `restore`: of a server that is in use, to one that never was."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import pytest
from click.testing import CliRunner, Result

from infra.local.__main__ import main
from infra.local.backup import DATABASE, NoBackup, backup, restore
from infra.local.store import SCHEMA, DataDirectory, DataInUse, Store
from tests.fixtures import ROOT
from tests.fixtures.http_client import Operator
from tests.fixtures.http_workers import Worker
from tests.fixtures.serve import ADMIN_KEY, REGISTRATION_TOKEN, Serve
from tests.fixtures.waiting import eventually

NOW = 1_800_000_000.0


def put(folder: Path, key: str) -> None:
    """The connection ends here: whenever it ended later, SQLite would delete the log beside the database."""
    with closing(Store(folder / DATABASE)) as store:
        store.apply([("t", key, b"{}")])


def items(folder: Path) -> list[bytes]:
    with closing(Store(folder / DATABASE)) as store:
        return list(store.items("t"))


def local(*arguments: str, content: bytes = b"") -> Result:
    """The command in this process."""
    return CliRunner().invoke(main, arguments, input=content)


def as_process(*arguments: str, content: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """The command as people start it."""
    command = [sys.executable, "-m", "infra.local", *arguments]
    return subprocess.run(command, input=content, capture_output=True, cwd=ROOT, check=False)


def test_a_backup_of_a_running_server_makes_another(tmp_path: Path) -> None:
    with Serve(tmp_path / "data") as serve:
        admin, worker = Operator(serve.url, ADMIN_KEY), Worker(serve.url, REGISTRATION_TOKEN)
        worker.register()
        made = admin.deploy(worker.worker_id, name="kept")["deployment_id"]
        saved = as_process("backup", "-", "--data", str(serve.data))
        assert saved.returncode == 0 and saved.stdout.startswith(b"SQLite format 3")
        later = admin.deploy(worker.worker_id, name="later")["deployment_id"]

        refused = local("restore", "-", "--data", str(serve.data), content=saved.stdout)
        assert refused.exit_code == 1 and "is in use by another muster server" in refused.stderr
        assert admin.status(later) == "pending"

    restored = as_process("restore", "-", "--data", str(tmp_path / "elsewhere"), content=saved.stdout)
    assert restored.returncode == 0 and restored.stderr.startswith(b"Restored: ")
    # Its credentials came with it: it is told none, and prints none.
    with Serve(tmp_path / "elsewhere", MUSTER_ADMIN_KEY="", MUSTER_REGISTRATION_TOKEN="") as elsewhere:
        admin = Operator(elsewhere.url, ADMIN_KEY)
        assert admin.status(made) == "pending"
        admin.get(f"/api/deployments/{later}").expect(404)
        assert "First start" not in elsewhere.log.read_text()


def test_a_backup_is_whole_while_items_are_written_in_pairs(tmp_path: Path) -> None:
    store, enough, pairs = Store(tmp_path / DATABASE), Event(), 0

    def write() -> None:
        nonlocal pairs
        while not enough.is_set():
            store.apply([("t", f"{pairs}a", b"{}"), ("t", f"{pairs}b", b"{}")])
            pairs += 1

    writer = Thread(target=write)
    writer.start()
    try:
        for number in range(10):
            before = pairs
            eventually(lambda: pairs, before.__lt__, what="another pair")
            (tmp_path / f"{number}").write_bytes(backup(tmp_path))
    finally:
        enough.set()
        writer.join()
    for number in range(10):
        with closing(sqlite3.connect(tmp_path / f"{number}")) as copy:
            assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            (items,) = copy.execute("SELECT count(*) FROM items").fetchone()
        assert items > 2 * number and items % 2 == 0


def test_what_the_old_database_had_in_its_log_is_not_read_into_the_new_one(tmp_path: Path) -> None:
    put(tmp_path, "new")
    content = backup(tmp_path)
    (tmp_path / "old").mkdir()
    old = Store(tmp_path / "old" / DATABASE)
    old.apply([("t", f"{number}", b"{}") for number in range(100)])
    assert (tmp_path / "old" / f"{DATABASE}-wal").stat().st_size > 0
    killed = tmp_path / "killed"  # as a kill -9 leaves it: with its log
    killed.mkdir()
    for name in (DATABASE, f"{DATABASE}-wal"):
        (killed / name).write_bytes((tmp_path / "old" / name).read_bytes())

    assert restore(DataDirectory(killed), content, NOW) == 1
    assert items(killed) == [b"{}"]


def test_a_backup_takes_the_place_of_a_damaged_database_which_is_copied(tmp_path: Path) -> None:
    put(tmp_path, "kept")
    content = backup(tmp_path)
    (tmp_path / DATABASE).write_bytes(b"not a database" * 1000)
    (tmp_path / f"{DATABASE}-wal").write_bytes(b"not a log" * 1000)
    assert restore(DataDirectory(tmp_path), content, NOW) == 1
    assert items(tmp_path) == [b"{}"]
    copies = {each.name: each.read_bytes()[:5] for each in tmp_path.glob("*.damaged-*")}
    assert copies == {
        f"{DATABASE}.damaged-20270115T080000Z": b"not a",
        f"{DATABASE}-wal.damaged-20270115T080000Z": b"not a",
    }


def test_a_damaged_database_is_not_backed_up(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"not a database" * 1000)
    refused = local("backup", "-", "--data", str(tmp_path))
    assert refused.exit_code == 1 and refused.stdout == ""
    assert refused.stderr.endswith("(file is not a database): keep the backups that you have\n")


def a_foreign_database() -> bytes:
    with closing(sqlite3.connect(":memory:")) as other:
        other.execute("CREATE TABLE letters (a)")
        return other.serialize()


@pytest.mark.parametrize("kind", ["empty", "text", "foreign", "damaged"])
def test_what_is_no_backup_changes_nothing(tmp_path: Path, kind: str) -> None:
    put(tmp_path, "kept")
    damaged = bytearray(backup(tmp_path))
    damaged[4096:] = bytes(len(damaged) - 4096)
    content = {"empty": b"", "text": b"not a database", "foreign": a_foreign_database(), "damaged": bytes(damaged)}
    refused = local("restore", "-", "--data", str(tmp_path), content=content[kind])
    assert refused.exit_code == 1 and refused.stderr.startswith("muster: this "), refused.stderr
    assert items(tmp_path) == [b"{}"]
    assert not [each for each in tmp_path.iterdir() if each.name.startswith("muster-")]


def test_an_older_backup_stays_until_there_is_another(tmp_path: Path) -> None:
    Store(tmp_path / DATABASE).close()
    kept, at = tmp_path / "kept.sqlite3", str(tmp_path)
    kept.write_bytes(b"an older backup")
    failed = local("backup", str(kept), "--data", str(tmp_path / "nowhere"))
    assert failed.exit_code == 1 and "nothing was ever kept in this directory" in failed.stderr
    assert kept.read_bytes() == b"an older backup"
    assert local("backup", str(kept), "--data", at).exit_code == 0
    assert kept.read_bytes().startswith(b"SQLite format 3") and kept.stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob("muster-*"))
    to_a_device = as_process("backup", "/dev/stdout", "--data", at)
    assert to_a_device.stdout == local("backup", "-", "--data", at).stdout_bytes
    nowhere = local("backup", str(tmp_path / "no/such/folder"), "--data", at)
    assert nowhere.exit_code == 1 and nowhere.stderr.startswith("muster: ")


def test_a_directory_in_use_is_not_restored_and_an_empty_one_not_backed_up(tmp_path: Path) -> None:
    with pytest.raises(NoBackup, match="nothing was ever kept"):
        backup(tmp_path)
    DataDirectory(tmp_path).lock()
    with pytest.raises(DataInUse):
        restore(DataDirectory(tmp_path), b"", NOW)


def database_of(data: Path, version: int) -> bytes:
    """A database with one item, of a release with that version of the schema."""
    data.mkdir()
    store = Store(data / DATABASE)
    store.apply([("t", "1", b"{}")])
    store.close()
    with closing(sqlite3.connect(data / DATABASE)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    return backup(data)


def test_a_backup_of_a_newer_release_is_not_restored(tmp_path: Path) -> None:
    content = database_of(tmp_path / "newer", SCHEMA.version + 1)
    (tmp_path / "data").mkdir()
    Store(tmp_path / "data" / DATABASE).close()
    before = (tmp_path / "data" / DATABASE).read_bytes()
    with pytest.raises(NoBackup, match=r"of a newer release .*: restore it with that release"):
        restore(DataDirectory(tmp_path / "data"), content, NOW)
    assert (tmp_path / "data" / DATABASE).read_bytes() == before


def test_a_backup_of_an_older_release_is_restored_and_upgraded_by_the_next_start(tmp_path: Path) -> None:
    content = database_of(tmp_path / "older", 0)
    data = tmp_path / "data"
    assert restore(DataDirectory(data), content, NOW) == 1
    store = Store(data / DATABASE)
    assert store.get("t", "1") == b"{}"
    store.close()
    assert (data / f"{DATABASE}.version-0").exists()
    with closing(sqlite3.connect(data / DATABASE)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA.version


def test_a_backup_that_lacks_a_column_is_not_restored(tmp_path: Path) -> None:
    database_of(tmp_path / "spoiled", SCHEMA.version)
    with closing(sqlite3.connect(tmp_path / "spoiled" / DATABASE)) as connection:
        connection.execute("ALTER TABLE items DROP COLUMN item")
    with pytest.raises(NoBackup, match="its table items has no column item"):
        restore(DataDirectory(tmp_path / "data"), backup(tmp_path / "spoiled"), NOW)
