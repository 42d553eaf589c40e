"""The ledger's file: rows, its id, and what no ledger has written."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from muster.files.schema import NewerSchema
from muster.gateway.ledger_file import LedgerFile, Row


def test_rows_and_id_are_read_by_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    file = LedgerFile(path)
    assert file.begin("first") == "first" and file.rows() == {}
    row, other = Row((3, 2, 1), (0, 0, 0), (1, 1, 1)), Row((2**53, 0, 0))
    file.write({("k", "m", "2026-12-31"): row, ("k", "gone", "2026-12-31"): other}, [])
    file.write({("k", "qwen/\u00e9", "2026-12-31"): other}, [("k", "gone", "2026-12-31")])
    file.close()
    file.close()
    with closing(LedgerFile(path)) as again:
        assert again.begin("second") == "first"
        assert again.rows() == {
            ("k", "m", "2026-12-31"): Row((3, 2, 1), (3, 2, 1), (1, 1, 1)),
            ("k", "qwen/\u00e9", "2026-12-31"): Row((2**53, 0, 0), (2**53, 0, 0), (0, 0, 0)),
        }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_transaction_that_fails_changes_nothing(tmp_path: Path) -> None:
    with closing(LedgerFile(tmp_path / "ledger.sqlite3")) as file:
        file.begin("id")
        too_large = Row((2**70, 0, 0))
        with pytest.raises(OverflowError):
            file.write({("a", "m", "d"): Row((1, 0, 0)), ("b", "m", "d"): too_large}, [])
        assert file.rows() == {}
        file.write({("a", "m", "d"): Row((1, 0, 0))}, [])
        assert len(file.rows()) == 1


def test_sums_that_are_no_counts_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    with closing(LedgerFile(path)) as file:
        file.write({("a", "m", "d"): Row((1, 0, 0))}, [])
        for value in (-1, "x", 1.5):
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("UPDATE sums SET requests = ?", (value,))
            with pytest.raises(ValueError, match="no counts"):
                file.rows()


def test_a_newer_releases_file_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    LedgerFile(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 9")
    before = path.read_bytes()
    with pytest.raises(NewerSchema):
        LedgerFile(path)
    assert path.read_bytes() == before


def test_a_file_that_was_deleted_or_replaced_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    with closing(LedgerFile(path)) as file:
        assert not file.is_lost()
        path.rename(tmp_path / "moved")
        assert file.is_lost()
        path.write_text("another")
        assert file.is_lost()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite3").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        LedgerFile(tmp_path / "ledger.sqlite3")
    assert not (tmp_path / "elsewhere").exists()
