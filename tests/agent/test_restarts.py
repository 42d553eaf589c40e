"""When an instance that died may start again."""

from __future__ import annotations

import pytest

from agent.restarts import FIRST, LONGEST, PROVEN_AFTER, Restarts
from tests.fixtures.agent_world import AgentWorld


def test_crash_restarts_after_a_backoff_that_doubles(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    waited = []
    for _ in range(7):
        world.engine.die(world.engine.only().id, 1, "RuntimeError: something odd")
        world.settle(1)
        assert world.statuses()[-1] == "starting"
        crashed_at = world.clock.now
        while not any(each.state == "running" for each in world.engine.all.values()):
            world.settle(1, seconds=1)
            assert world.clock.now < crashed_at + 1000, "it was not started again"
        waited.append(world.clock.now - crashed_at)
        world.settle(3)
    assert [round(each / 10) * 10 for each in waited] == [10, 20, 40, 80, 160, 300, 300]
    assert world.last_report().restarts == 7


def test_long_run_makes_the_next_crash_the_first_again(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    for _ in range(3):
        world.engine.die(world.engine.only().id, 1)
        world.settle(steps=30, seconds=5)
    world.settle(2, seconds=3600)
    world.engine.die(world.engine.only().id, 1)
    world.settle(1)
    assert "10 s" in (world.last_report().message or "")


def test_each_failure_doubles_the_wait_up_to_the_longest() -> None:
    restarts = Restarts()
    waits = [restarts.again(1000.0 * number) for number in range(100)]
    assert waits[:6] == [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST, 16 * FIRST, LONGEST]
    assert set(waits[5:]) == {LONGEST}


def test_a_first_start_waits_for_nothing_and_a_restart_for_what_is_left() -> None:
    restarts = Restarts()
    assert restarts.wait(0.0) == 0.0
    restarts.again(100.0)
    assert [restarts.wait(now) for now in (100.0, 104.0, 110.0, 1e9)] == [10.0, 6.0, 0.0, 0.0]


@pytest.mark.parametrize(("ran", "wait"), [(PROVEN_AFTER - 1, 4 * FIRST), (PROVEN_AFTER, FIRST)])
def test_a_run_that_was_long_enough_makes_the_next_failure_the_first(ran: float, wait: float) -> None:
    restarts = Restarts()
    restarts.again(0.0)
    restarts.again(0.0)
    restarts.note_running(100.0)
    restarts.note_running(100.0 + ran / 2)
    assert restarts.again(100.0 + ran) == wait


def test_a_failure_before_it_ran_again_is_not_forgiven_for_the_run_before() -> None:
    restarts = Restarts()
    restarts.note_running(0.0)
    assert restarts.again(PROVEN_AFTER) == FIRST
    assert restarts.again(2 * PROVEN_AFTER) == 2 * FIRST
