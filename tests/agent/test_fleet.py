"""The deployments of a host: who is active, and what becomes of an older intent."""

from __future__ import annotations

from tests.fixtures.agent_world import AgentWorld


def test_older_generation_is_acked_and_ignored(world: AgentWorld) -> None:
    world.deploy(generation=5)
    world.settle()
    world.stop(generation=4)
    world.settle()
    assert world.engine.only().generation == 5
    world.beat()
    assert world.server.pending == {}


def test_older_intent_is_answered_with_what_is_there(world: AgentWorld) -> None:
    world.deploy(generation=5)
    world.settle()
    world.beat()
    heard = len(world.server.reports)
    world.stop(generation=4)
    world.settle()
    said = [report for _, report in world.server.reports[heard:]]
    assert [(each.status, each.generation) for each in said] == [("running", 5)]
    assert world.engine.calls.count("start muster-d1-g5") == 1


def test_heartbeat_names_what_is_active(world: AgentWorld) -> None:
    world.probe.ready = set()
    world.deploy()
    assert world.server.beats[-1].active_deployments == []
    world.settle()
    world.beat()
    assert world.server.beats[-1].active_deployments == ["d1"]
    world.stop()
    world.settle()
    world.beat()
    assert world.server.beats[-1].active_deployments == []
