"""Each process of the agent has a boot id, and knows those of the processes before it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from muster_agent.control.boot_ids import next_boot
from muster_agent.wiring import Journal
from tests.fixtures.journals import open_journal


def test_a_process_knows_those_before_it(tmp_path: Path, full: Journal) -> None:
    boots = [next_boot(open_journal(tmp_path).database) for _ in range(12)]
    ids = [boot for boot, _ in boots]
    assert len(set(ids)) == 12
    assert [past for _, past in boots] == [ids[max(0, number - 8) : number][::-1] for number in range(12)]
    assert next_boot(full.database)[0], "it starts on a full disk all the same"


def test_a_process_whose_journal_was_lost_knows_those_before_it_from_the_file_beside(tmp_path: Path) -> None:
    before = [next_boot(open_journal(tmp_path).database)[0] for _ in range(3)]
    (tmp_path / "journal").unlink()
    fresh, past = next_boot(open_journal(tmp_path).database)
    assert past == before[::-1]
    assert next_boot(open_journal(tmp_path).database)[1] == [fresh, *past]
    assert stat.S_IMODE((tmp_path / "boots").stat().st_mode) == 0o600, "each proves who the worker is"


@pytest.mark.parametrize("content", [b"\xff", b"", b"short", b"a" * 31])
def test_a_file_beside_that_is_damaged_names_nobody(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "boots").write_bytes(content)
    assert next_boot(open_journal(tmp_path).database)[1] == []


def test_a_file_beside_that_cannot_be_written_holds_up_nothing(tmp_path: Path) -> None:
    (tmp_path / "boots").mkdir()
    first, _ = next_boot(open_journal(tmp_path).database)
    assert next_boot(open_journal(tmp_path).database)[1] == [first]
