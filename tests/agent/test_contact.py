"""How long an agent may start models without having heard from its control plane."""

from __future__ import annotations

from pathlib import Path

from agent.contact import LEASE, Contact
from tests.fixtures.agent_world import DAY, AgentWorld
from tests.fixtures.journals import open_memory


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
