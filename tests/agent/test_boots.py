"""Each process of the agent has a boot id, and knows those of the processes before it."""

from __future__ import annotations

from pathlib import Path

from agent.boots import next_boot
from agent.crew import Memory
from tests.fixtures.journals import open_memory


def test_a_process_knows_those_before_it(tmp_path: Path, full: Memory) -> None:
    boots = [next_boot(open_memory(tmp_path).database) for _ in range(12)]
    ids = [boot for boot, _ in boots]
    assert len(set(ids)) == 12
    assert [past for _, past in boots] == [ids[max(0, number - 8) : number][::-1] for number in range(12)]
    assert next_boot(full.database)[0], "it starts on a full disk all the same"
