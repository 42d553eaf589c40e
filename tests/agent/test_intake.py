"""Commands as they arrive: journaled, handed on, acked with the next heartbeat."""

from __future__ import annotations

from tests.fixtures.agent_world import AgentWorld
from tests.fixtures.journals import BIG, fill


def test_ack_comes_with_the_beat_after(world: AgentWorld) -> None:
    world.deploy()
    assert world.server.beats[-1].acks == []
    world.beat()
    assert world.server.beats[-1].acks == ["deploy-d1-1"]
    world.beat()
    assert world.server.beats[-1].acks == []
    assert world.server.beats[-1].inbox == world.server.inbox


def test_ack_is_repeated_when_a_beat_is_lost(world: AgentWorld) -> None:
    world.deploy()
    world.server.failures = [TimeoutError()]
    world.beat()
    world.beat()
    assert world.server.beats[-1].acks == ["deploy-d1-1"]


def test_unknown_command_costs_the_others_nothing(world: AgentWorld) -> None:
    world.server.order(type="dance", command_id="o9", expires_in=60)
    world.server.order(type="deploy", command_id="o8", deployment_id="d8", generation=3, backend="vllm", model=7)
    world.deploy()
    world.settle()
    assert world.result("o9")["error_code"] == "UNSUPPORTED_COMMAND"
    assert world.last_report("d8").error_code == "UNSUPPORTED_COMMAND"
    assert world.statuses()[-1] == "running"


def test_full_disk_is_said_and_not_acked(world: AgentWorld) -> None:
    fill(world.database)
    world.deploy(env={"BIG": BIG})
    world.order(type="pull_image", command_id="o1", expires_in=60, image=BIG)
    assert world.server.beats[-1].acks == []
    world.deliver()
    assert world.last_report().error_code == "DISK_FULL"
    assert world.result("o1")["error_code"] == "DISK_FULL"
    assert world.engine.calls == []
