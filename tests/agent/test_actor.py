"""One deployment's thread: which intent it takes, what it answers to a repeat, when it ends."""

from __future__ import annotations

from tests.fixtures.agent_world import AgentWorld


def test_same_generation_again_is_answered_with_how_it_is(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.beat()
    world.deploy()
    world.settle()
    last, before = world.server.reports[-1][1], world.server.reports[-2][1]
    assert last.status == before.status == "running"
    assert (last.sequence or 0) > (before.sequence or 0)
    assert world.engine.calls.count("start muster-d1-g1") == 1


def test_newer_intent_cancels_a_pull(world: AgentWorld) -> None:
    world.deploy()
    world.engine.on_pull = world.stop
    world.settle()
    assert world.statuses()[-1] == "stopped"
    assert world.engine.specs == []
