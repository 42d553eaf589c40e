"""Reports on their way to the control plane, whatever it answers."""

from __future__ import annotations

from tests.fixtures.agent_world import AgentWorld


def test_401_to_a_report_registers_again(world: AgentWorld) -> None:
    world.deploy()
    world.server.tokens += 1
    world.settle()
    assert world.agent.identity is None
    world.beat()
    world.settle()
    assert world.statuses()[-1] == "running"
