"""The journal's file on good disks and on full ones."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from agent.crew import Memory
from agent.journal import JournalFull
from tests.fixtures.agent_world import AgentWorld
from tests.fixtures.journals import DEPLOY, big_stop, fill, open_memory


def test_journal_id_is_as_old_as_the_journal(tmp_path: Path) -> None:
    first = open_memory(tmp_path).database
    assert open_memory(tmp_path).database.journal_id == first.journal_id
    (tmp_path / "journal").unlink()
    assert open_memory(tmp_path).database.journal_id != first.journal_id


def test_files_are_for_our_user_alone(tmp_path: Path) -> None:
    memory = open_memory(tmp_path)
    memory.records.accept(DEPLOY)
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_broken_journal_is_put_aside(world: AgentWorld) -> None:
    world.kill()
    (world.state.path / "journal").write_bytes(b"not a database" * 1000)
    world.boot().beat()
    assert (world.state.path / "journal.broken").exists()
    assert world.server.session == 2


def test_reserve_is_given_up_once(full: Memory) -> None:
    full.records.accept(big_stop("d1"))
    fill(full.database)
    with pytest.raises(JournalFull):
        full.records.accept(big_stop("d2"))
