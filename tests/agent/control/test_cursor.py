"""How far the control plane was heard outlives the process, and goes back with its disk."""

from __future__ import annotations

from pathlib import Path

from muster_agent.control.cursor import InboxCursor
from tests.fixtures.agent_world import AgentWorld
from tests.fixtures.journals import forbid_writing, open_journal


def test_nothing_was_heard_before_the_first_heartbeat(tmp_path: Path) -> None:
    assert InboxCursor(open_journal(tmp_path).database).last == 0


def test_what_was_heard_last_outlives_the_process(tmp_path: Path) -> None:
    inbox = InboxCursor(open_journal(tmp_path).database)
    inbox.note(7)
    inbox.note(12)
    assert InboxCursor(open_journal(tmp_path).database).last == inbox.last == 12


def test_on_a_full_disk_the_older_value_stays_and_nothing_is_raised(tmp_path: Path) -> None:
    database = open_journal(tmp_path).database
    inbox = InboxCursor(database)
    inbox.note(7)
    forbid_writing(database)
    inbox.note(12)
    assert inbox.last == 7


def test_a_disk_that_was_put_back_tells_the_value_of_its_day(world: AgentWorld) -> None:
    world.beat()
    copy = world.state.path.parent / "copy"
    journal = world.state.path / "journal"
    copy.write_bytes(journal.read_bytes())
    then = world.journal.inbox.last
    world.deploy()
    assert world.journal.inbox.last > then
    world.kill()
    journal.write_bytes(copy.read_bytes())
    world.boot()
    world.beat()
    assert world.server.beats[-1].inbox == then
