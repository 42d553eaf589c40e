"""One deployment's thread: which intent it takes, what it answers to a repeat, when it ends."""

from __future__ import annotations

import pytest

from muster.api.lifecycle import Status
from muster_agent.engines.base import EngineError
from muster_agent.runner.failures import OPERATOR_STOP_SECONDS
from muster_agent.runner.instances import MAX_LISTING_AGE_SECONDS
from muster_agent.runner.runner import DeploymentRunner
from tests.fixtures.agent_world import DAY, AgentWorld


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


def test_an_actor_has_one_thread_at_most_and_leaves_it_when_nothing_is_left_to_do(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.stop()
    runner = world.runner()
    assert isinstance(runner, DeploymentRunner)
    assert not runner.take_thread(), "the fleet gave it one"
    runner.run()
    assert runner.record.status is Status.STOPPED
    assert [runner.take_thread(), runner.take_thread()] == [True, False]


@pytest.mark.parametrize("seconds", [-DAY, DAY])
def test_a_thread_measures_its_waits_by_the_monotonic_clock(world: AgentWorld, seconds: float) -> None:
    world.deploy()
    world.settle()
    world.engine.die(world.engine.only().id, 1, "RuntimeError: something odd")
    world.settle(1, seconds=1)
    world.clock.step(seconds)
    runner, looks = world.runner(), list[float]()

    def next_look(delay: float | None = None) -> None:
        """In the place of the wait between two steps: time passes, until the model runs again."""
        world.clock.pass_time(delay or 0.0)
        looks.append(delay or 0.0)
        if any(each.state == "running" for each in world.engine.all.values()) or len(looks) > 20:
            runner.close()

    runner._wake.wait = next_look  # type: ignore[assignment, method-assign]
    runner.run()
    assert world.engine.only().deployment_id == "d1"
    assert 5 <= sum(looks) <= 15, "ten seconds after its crash"


def test_a_closed_actor_starts_nothing_and_ends_nothing(world: AgentWorld) -> None:
    world.deploy(deployment_id="d2")
    world.settle()
    world.deploy()
    for deployment_id in ("d1", "d2"):
        world.runner(deployment_id).close()
        world.runner(deployment_id).run()
    world.stop(deployment_id="d2")
    world.runner("d2").step(world.clock.monotonic())
    assert [each.deployment_id for each in world.engine.all.values()] == ["d2"]
    assert world.engine.only().state == "running"


def test_a_deployment_comes_up_from_its_start_until_it_ends(world: AgentWorld) -> None:
    world.probe.ready = set()
    world.deploy()
    assert (world.runner().is_expected, world.runner().coming_up) == (True, False), "it has yet to be started"
    world.settle()
    assert world.runner().coming_up
    world.probe.ready = {"org/model"}
    world.settle()
    assert world.runner().coming_up, "after a reboot it is started again"
    world.stop()
    world.settle()
    assert (world.runner().is_expected, world.runner().coming_up) == (False, False)


def test_a_stop_that_the_engine_refused_is_no_excuse_for_a_later_crash(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    instance = world.engine.only()
    world.runner().expect_end(instance.id)
    world.settle(seconds=OPERATOR_STOP_SECONDS / 4)
    world.engine.die(instance.id, 1, "RuntimeError: it died")
    world.settle(20)
    assert (world.last_report().status, world.last_report().restarts) == ("running", 1)


def test_an_engine_that_does_not_answer_is_logged_once_for_each_of_its_messages(
    world: AgentWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world.deploy()
    runner, said = world.runner(), iter(["down", "down", "hangs", "hangs", "down"])

    def look() -> None:
        message = next(said, None)
        world.engine.trouble = EngineError("DOCKER_UNAVAILABLE", message) if message else None
        world.clock.pass_time(MAX_LISTING_AGE_SECONDS)
        if world.engine.all:
            runner.close()
        else:
            runner.wake()

    world.engine.on_look = look
    world.runtime.context.instance_cache.changed()
    runner.run()
    assert [each for each in caplog.messages if "DOCKER" in each] == [
        f"deployment d1: DOCKER_UNAVAILABLE: {message}" for message in ("down", "hangs", "down")
    ]
    assert world.engine.only().deployment_id == "d1"
