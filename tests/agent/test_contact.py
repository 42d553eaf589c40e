"""How long an agent may start models without having heard from its control plane."""

from __future__ import annotations

from pathlib import Path

from agent.contact import LEASE, Contact
from tests.fixtures.agent_world import DAY, AgentWorld
from tests.fixtures.journals import forbid_writing, open_memory


def test_contact_is_a_lease_that_outlives_the_process(tmp_path: Path) -> None:
    contact = Contact(open_memory(tmp_path).database)
    assert not contact.may_start(0)
    contact.note(1000)
    assert contact.may_start(1000 + LEASE - 1)
    assert not contact.may_start(1000 + LEASE)
    again = Contact(open_memory(tmp_path).database)
    assert again.last == 1000
    # A host whose clock starts at zero is not one without contact.
    assert again.may_start(0)


def test_without_contact_for_a_day_nothing_is_started(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.clock.pass_time(DAY + 1)
    world.engine.die(world.engine.only().id, 1)
    world.settle(20, seconds=60)
    assert all(each.state != "running" for each in world.engine.all.values())
    world.beat()
    world.settle()
    assert world.statuses()[-1] == "running"


def test_contact_is_written_down_every_ten_minutes_and_known_at_once(tmp_path: Path) -> None:
    contact = Contact(open_memory(tmp_path).database)
    kept = []
    for now in (1000.0, 1001.0, 1599.0, 1600.0, 500.0):
        contact.note(now)
        assert contact.last == now
        kept.append(Contact(open_memory(tmp_path).database).last)
    assert kept == [1000.0, 1000.0, 1000.0, 1600.0, 500.0]


def test_contact_that_cannot_be_written_down_counts_until_the_process_ends(tmp_path: Path) -> None:
    database = open_memory(tmp_path).database
    contact = Contact(database)
    forbid_writing(database)
    contact.note(1000.0)
    assert contact.may_start(1000.0)
    assert Contact(open_memory(tmp_path).database).last is None
