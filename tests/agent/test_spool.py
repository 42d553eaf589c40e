"""Reports and results on their way out: their order, their number, and what a full disk keeps in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.crew import Memory
from agent.journal import JournalFull
from agent.spool import MOST
from chalicelib.contract.messages import Report, Result
from tests.fixtures.agent_world import AgentWorld
from tests.fixtures.journals import forbid_writing, open_memory


def test_spool_keeps_its_order_and_its_bounds(tmp_path: Path) -> None:
    memory = open_memory(tmp_path)
    memory.database.connection.execute("PRAGMA synchronous = OFF")  # nothing here is about a disk
    spool = memory.spool
    for number in range(MOST + 5):
        spool.put(f"d{number}", Report("running"))
    about = []
    while (entry := spool.first()) is not None:
        about.append(entry.about)
        spool.done(entry)
    assert about == [f"d{number}" for number in range(5, MOST + 5)]


def test_report_that_cannot_be_journaled_is_sent_all_the_same(full: Memory) -> None:
    full.spool.put("d1", Report("error", error_code="DISK_FULL"))
    entry = full.spool.first()
    assert entry is not None
    assert entry.body["error_code"] == "DISK_FULL"
    full.spool.done(entry)
    assert full.spool.first() is None


def test_what_was_sent_and_cannot_be_forgotten_holds_up_nothing(tmp_path: Path) -> None:
    memory = open_memory(tmp_path)
    memory.spool.put("d1", Report("running"))
    forbid_writing(memory.database)
    entry = memory.spool.first()
    assert entry is not None
    with pytest.raises(JournalFull):
        memory.spool.done(entry)
    memory.spool.put("d2", Report("error", error_code="DISK_FULL"))
    held = memory.spool.first()
    assert held is not None and held.about == "d2"


def test_sequence_grows_from_report_to_report_and_over_restarts(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.kill()
    world.boot().beat()
    world.settle()
    sequences = [report.sequence or 0 for _, report in world.server.reports]
    assert sequences == sorted(set(sequences))


def test_what_was_not_sent_is_there_after_a_restart_and_what_was_sent_is_not(tmp_path: Path) -> None:
    spool = open_memory(tmp_path).spool
    spool.put("d1", Report("running"))
    spool.put("o1", Result("succeeded", output={"deleted": []}))
    entry = spool.first()
    assert entry is not None
    spool.done(entry)
    entry = open_memory(tmp_path).spool.first()
    assert entry is not None
    assert (entry.kind, entry.about, entry.body) == ("result", "o1", {"status": "succeeded", "output": {"deleted": []}})


def test_reports_are_numbered_and_results_are_not(tmp_path: Path) -> None:
    numbers = []
    for _ in range(2):
        spool = open_memory(tmp_path).spool
        for body in (Report("starting"), Result("running"), Report("running")):
            spool.put("x", body)
        while (entry := spool.first()) is not None:
            numbers.append(entry.body.get("sequence"))
            spool.done(entry)
    assert numbers == [1, None, 2, 3, None, 4]


def test_what_is_held_in_memory_comes_after_what_is_journaled_and_in_its_order(tmp_path: Path) -> None:
    spool = open_memory(tmp_path).spool
    spool.hold("held-1", Report("error"))
    spool.hold("held-2", Result("failed"))
    spool.put("journaled", Report("running"))
    about = []
    while (entry := spool.first()) is not None:
        about.append(entry.about)
        spool.done(entry)
    assert about == ["journaled", "held-1", "held-2"]


def test_whoever_sends_is_told_of_everything_new(tmp_path: Path) -> None:
    spool = open_memory(tmp_path).spool
    assert not spool.arrived.is_set()
    for add in (spool.put, spool.hold):
        spool.arrived.clear()
        add("d1", Report("running"))
        assert spool.arrived.is_set()
