"""One process has a data directory, its owner alone may read it, and `kill -9` takes nothing back."""

from __future__ import annotations

import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from infra.local.store import SCHEMA, DataDirectory, DataInUse, Store
from muster.files.schema import NewerSchema
from tests.fixtures.waiting import deadline

WRITER = """
import sys
from pathlib import Path
from infra.local.store import Store
store = Store(Path(sys.argv[1]))
for number in range(1_000_000):
    store.apply([("t", f"{number}a", b"{}"), ("t", f"{number}b", b"{}")])
    print(number, flush=True)
"""


def test_only_the_owner_may_look(tmp_path: Path) -> None:
    DataDirectory(tmp_path / "a" / "data")
    assert stat.S_IMODE((tmp_path / "a" / "data").stat().st_mode) == 0o700


def test_a_second_lock_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    DataDirectory(tmp_path).lock()
    with pytest.raises(DataInUse, match=f"{tmp_path} is in use by another muster server"):
        DataDirectory(tmp_path).lock()


def test_it_remembers_what_was_said(tmp_path: Path) -> None:
    assert not DataDirectory(tmp_path).introduced
    DataDirectory(tmp_path).mark_introduced()
    assert DataDirectory(tmp_path).introduced


def test_a_database_of_an_older_release_is_upgraded_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "items.sqlite3"
    store = Store(path)
    store.apply([("t", "1", b"{}")])
    store.close()
    assert version(path) == SCHEMA.version and not caplog.messages
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 0")  # 0.1.0 kept none
    store = Store(path)
    assert store.get("t", "1") == b"{}"
    store.close()
    kept = path.with_name("items.sqlite3.version-0")
    assert (version(path), version(kept)) == (SCHEMA.version, 0)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    (said,) = caplog.messages
    assert f"is upgraded to version {SCHEMA.version}" in said and str(kept) in said
    Store(path).close()
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (f"PRAGMA user_version = {SCHEMA.version + 1}", NewerSchema),
        ("ALTER TABLE items DROP COLUMN item", sqlite3.DatabaseError),
    ],
)
def test_a_database_that_this_release_does_not_know_is_refused(
    tmp_path: Path, script: str, error: type[Exception]
) -> None:
    path = tmp_path / "items.sqlite3"
    Store(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(script)
    before = path.read_bytes()
    with pytest.raises(error):
        Store(path)
    assert path.read_bytes() == before


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_a_killed_writer_loses_nothing_that_it_confirmed(tmp_path: Path) -> None:
    path = tmp_path / "items.sqlite3"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout
    with deadline(writer):
        confirmed = [int(writer.stdout.readline()) for _ in range(50)][-1]
        writer.send_signal(signal.SIGKILL)
        confirmed = max([confirmed, *map(int, writer.stdout.read().split())])
    writer.wait()
    store = Store(path)
    for number in range(confirmed + 1):
        assert store.get("t", f"{number}a") == store.get("t", f"{number}b") == b"{}"
    assert store.get("t", f"{confirmed + 2}a") is None
    assert (store.get("t", f"{confirmed + 1}a") is None) == (store.get("t", f"{confirmed + 1}b") is None)
