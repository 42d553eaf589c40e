"""The watch looks at the host every few seconds, whatever the engine does, and notes where it does not answer."""

from __future__ import annotations

import logging

import pytest

from muster.api.messages import ReportedCondition
from muster_agent.conditions import CLEARED_AFTER_SECONDS
from muster_agent.engines.base import EngineError, Instance
from muster_agent.runner.instances import MAX_LISTING_AGE_SECONDS
from muster_agent.runner.poller import LISTING_HUNG_AFTER_SECONDS, Poller
from tests.fixtures.agent_world import AgentWorld


@pytest.fixture
def poller(world: AgentWorld) -> Poller:
    world.runtime.context.instance_cache.changed()
    return world.runtime.poller


def look(world: AgentWorld, times: int = 1) -> None:
    for _ in range(times):
        world.clock.pass_time(MAX_LISTING_AGE_SECONDS)
        world.runtime.poller.step()


def reported(world: AgentWorld, seconds: float = 30.0) -> list[ReportedCondition]:
    """With the next heartbeat, in `seconds`."""
    world.beat(seconds)
    return world.server.beats[-1].conditions or []


def test_a_step_leaves_what_is_there_for_the_heartbeat(world: AgentWorld, poller: Poller) -> None:
    world.engine.add(Instance("i1", "muster-d1-g1", "image", "running", "w1", "d1", 1))
    poller.step()
    assert world.runtime.context.instance_cache.seen == (world.engine.only(),)
    world.beat()
    assert world.server.beats[-1].active_deployments == ["d1"]


def test_an_engine_that_is_down_is_a_condition_that_names_what_it_holds_up_until_it_was_up_for_a_minute(
    world: AgentWorld,
) -> None:
    world.deploy(deployment_id="runs")
    world.settle()
    world.deploy(deployment_id="waits")
    world.engine.down = True
    look(world)
    assert reported(world) == [], "one look may be chance"
    look(world)
    assert reported(world) == [ReportedCondition("EngineUnavailable", "the engine is down", deployments=["waits"])]
    world.engine.down = False
    look(world)
    assert reported(world) != []
    world.clock.pass_time(CLEARED_AFTER_SECONDS)
    look(world)
    assert reported(world) == []


def test_an_engine_that_answers_with_errors_is_a_condition_in_its_own_words(world: AgentWorld, poller: Poller) -> None:
    world.engine.trouble = EngineError("CONTAINER_FAILED", "context deadline exceeded")
    look(world, 2)
    (condition,) = reported(world)
    assert "cannot list what runs: context deadline exceeded: see its own log" in condition.message


def test_a_look_that_does_not_return_is_a_condition_by_its_age(world: AgentWorld, poller: Poller) -> None:
    during: list[list[ReportedCondition]] = []

    def hang() -> None:
        during.append(reported(world, LISTING_HUNG_AFTER_SECONDS - 1))
        during.append(reported(world, 1))
        during.append(reported(world, 1))

    world.engine.on_look = hang
    look(world)
    assert [[each.type for each in one] for one in during] == [[], [], ["EngineUnavailable"]]
    assert "does not answer within 10 s" in during[-1][0].message


def test_the_message_of_a_hang_stays_the_engines_own_so_that_it_does_not_change_with_every_look(
    world: AgentWorld,
) -> None:
    world.engine.trouble = EngineError("DOCKER_UNAVAILABLE", "Docker does not answer within 30 s")
    look(world, 2)

    def hang() -> None:
        world.clock.pass_time(LISTING_HUNG_AFTER_SECONDS)
        world.runtime.poller.check()

    world.engine.on_look = hang
    look(world)
    assert [each.message for each in reported(world)] == ["Docker does not answer within 30 s"]


def test_an_engine_that_is_down_is_logged_once_until_it_is_up_again(
    world: AgentWorld, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    world.deploy()
    for down in (True, False, True):
        world.engine.down = down
        look(world, 5)
        world.clock.pass_time(CLEARED_AFTER_SECONDS)
        look(world)
    assert [each for each in caplog.messages if "condition" in each] == [
        "condition EngineUnavailable: the engine is down"
    ] * 2


def test_what_else_fails_in_a_look_is_logged_once_with_its_traceback(
    world: AgentWorld, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("odd")

    world.engine.on_look = fail
    look(world, 3)
    assert [each.levelname for each in caplog.records if each.exc_info] == ["ERROR"]
    assert "ZeroDivisionError: odd" in reported(world)[0].message


def test_a_closed_watch_ends_and_looks_no_more(world: AgentWorld, poller: Poller) -> None:
    world.engine.add(Instance("i1", "n1", "image", "running"))
    poller.close()
    poller.run()
    assert world.runtime.context.instance_cache.seen == ()
