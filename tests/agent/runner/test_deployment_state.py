"""What a deployment reports: the instance that serves, the message, the repeat after a restart."""

from __future__ import annotations

from muster_agent.engines.base import EngineError, RunSpec
from tests.fixtures.agent_world import GIB, AgentWorld


def test_reports_name_the_instance_that_serves_until_it_is_ended(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.engine.available.add("vllm/vllm-openai:other")
    world.deploy(generation=2, image="vllm/vllm-openai:other")
    world.settle()
    assert world.serving() == [("downloading", 1), ("starting", 0), ("running", None)]


def test_what_serves_goes_on_while_a_change_waits_for_the_next_try(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    before, world.free_disk = world.engine.only(), 0
    world.deploy(generation=2)
    world.settle(20, seconds=5)
    assert world.engine.only() == before
    assert (world.last_report().error_code, world.last_report().serving) == ("DISK_FULL", 1)
    world.free_disk = 1000 * GIB
    world.settle(40, seconds=10)
    assert (world.engine.only().generation, world.last_report().status) == (2, "running")


def test_an_instance_that_dies_while_a_change_waits_serves_no_more(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.free_disk = 0
    world.deploy(generation=2)
    world.settle(2)
    world.engine.die(world.engine.only().id, 1)
    world.settle(30, seconds=10)
    assert world.last_report().serving == 0


GONE = (None, None)


def test_after_a_restart_of_the_agent_a_deployment_says_again_how_it_is(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    before = world.last_report()
    world.restart()
    world.beat()
    world.step()
    assert world.last_report().status == before.status == "running"
    assert (world.last_report().sequence or 0) > (before.sequence or 0)


def test_a_report_names_the_instance_while_it_is_there_and_none_after_its_end(world: AgentWorld) -> None:
    def named() -> tuple[str | None, int | None]:
        return world.last_report().container_id, world.last_report().port

    world.deploy()
    world.settle()
    assert named() == (world.engine.only().id, 20000)
    world.engine.die(world.engine.only().id, 1)
    world.step()
    assert (world.last_report().status, named()) == ("starting", GONE)
    world.settle(10)
    world.engine.die(world.engine.only().id, 137)
    world.run = "the host was restarted"
    world.step()
    assert (world.last_report().error_code, named()) == (None, GONE)
    world.settle(10)
    world.engine.die(world.engine.only().id, 2, "vllm: error: unrecognized arguments: --max-modle-len")
    world.step()
    assert (world.last_report().status, named()) == ("error", GONE)
    world.deploy(generation=2)
    world.settle()
    world.stop(generation=3)
    world.settle()
    assert (world.last_report().status, named()) == ("stopped", GONE)


def test_a_message_is_no_longer_than_the_control_plane_takes(world: AgentWorld) -> None:
    def fail(spec: RunSpec) -> None:
        raise EngineError("CONTAINER_FAILED", "x" * 20_000)

    world.engine.on_start = fail
    world.deploy()
    world.settle()
    assert world.last_report().message == "x" * 16_000
