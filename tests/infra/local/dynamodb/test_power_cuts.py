"""What was answered is on the disk after a power cut, and a transaction is there whole or not at all.

`kill -9` cannot show a missing sync: what a dead process wrote is in the kernel's cache. Here each write and each sync
of the database's files is noted, and a disk is made that has what was synced by then, and no more.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from infra.local.store import Store
from tests.fixtures.disk_log import ANSWERS, Disk, lose_power, moments, record

NAME = "items.sqlite3"
PAIRS, THREADS = 60, 4
WRITER = f"""
import os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from infra.local.dynamodb import Engine
from infra.local.store import Store
from tests.fixtures.embedded_client import TABLE, thing

folder = Path(sys.argv[1])
store = Store(folder / "{NAME}")
engine = Engine(store)
call = engine.client._make_api_call
call("CreateTable", TABLE)
answers = os.open(folder / "{ANSWERS}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def write(number):
    pair = [thing(str(number), part, text={{"S": "x" * 9000}}) for part in "ab"]
    puts = [{{"Put": {{"TableName": "things", "Item": item}}}} for item in pair]
    call("TransactWriteItems", {{"TransactItems": puts}})
    os.write(answers, f"{{number}}\\n".encode())

with ThreadPoolExecutor({THREADS}) as pool:
    list(pool.map(write, range({PAIRS})))
engine.close()
store.close()
"""


def pairs(path: Path) -> set[str]:
    """The pairs that are there. Raises AssertionError for half a pair."""
    with closing(Store(path)) as store:
        found = [item for item in store.items("things")]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        keys = [str(row[0]) for row in connection.execute("SELECT key FROM items WHERE table_name = 'things'")]
    assert len(found) == len(keys)
    ids = [key.split('"')[3] for key in keys]
    assert all(ids.count(number) == 2 for number in ids), "half a transaction"
    return set(ids)


def after_a_power_cut(disk: Disk, folder: Path, also: int = 0) -> set[str]:
    lose_power(disk, folder, also)
    try:
        return pairs(folder / NAME)
    finally:
        shutil.rmtree(folder)


def test_what_was_answered_is_there_after_a_power_cut_at_any_moment(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    records = record(folder, WRITER, str(folder))
    checked, syncs = 0, 0
    known = 0
    for kind, disk, answers in moments(records):
        syncs += kind == "s"
        if kind == "s" or len(answers) > known:
            known = len(answers)
            found = after_a_power_cut(disk, tmp_path / "cut", also=3000 if syncs % 2 else 0)
            assert found >= set(answers), "answered, and not on the disk"
            checked += 1
    assert known == PAIRS and syncs > 5 and checked > PAIRS
