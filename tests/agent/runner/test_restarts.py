"""When an instance that died may start again, and when its crashes are a loop."""

from __future__ import annotations

import pytest

from muster.api.crash_loops import PERSISTENT
from muster.api.messages import CrashLoop
from muster_agent.runner.restarts import (
    FIRST_WAIT_SECONDS,
    MAX_PERSISTENT_WAIT_SECONDS,
    MAX_WAIT_SECONDS,
    PROVEN_AFTER_SECONDS,
    Restarts,
)
from muster_agent.state.deployments import Crashes
from tests.fixtures.agent_world import AgentWorld

OOM = "torch.OutOfMemoryError: CUDA out of memory."


def crash(world: AgentWorld, log: str = "RuntimeError: something odd") -> None:
    world.engine.die(world.engine.only().id, 1, log)
    world.settle(1)


def until_started(world: AgentWorld) -> float:
    """The seconds until it runs again."""
    since = world.clock.now
    while not any(each.state == "running" for each in world.engine.all.values()):
        world.settle(1, seconds=1)
        assert world.clock.now < since + 4000, "it was not started again"
    return world.clock.now - since


def looping(world: AgentWorld, times: int, log: str = OOM) -> None:
    """As it is right after so many crashes in a row."""
    world.deploy()
    world.settle()
    for number in range(times):
        if number:
            until_started(world)
            world.settle(2)
        crash(world, log)


def test_crash_restarts_after_a_backoff_that_doubles(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    waited = []
    for _ in range(7):
        crash(world)
        assert world.statuses()[-1] == "starting"
        waited.append(until_started(world))
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
    waits = [restarts.again(1000.0 * number, f"CODE_{number}") for number in range(100)]
    assert waits[:6] == [
        FIRST_WAIT_SECONDS,
        2 * FIRST_WAIT_SECONDS,
        4 * FIRST_WAIT_SECONDS,
        8 * FIRST_WAIT_SECONDS,
        16 * FIRST_WAIT_SECONDS,
        MAX_WAIT_SECONDS,
    ]
    assert set(waits[5:]) == {MAX_WAIT_SECONDS}


def test_a_cause_that_stays_backs_off_further_from_the_tenth_time_on() -> None:
    restarts = Restarts()
    waits = [restarts.again(0.0, "A") for _ in range(14)]
    assert waits[5 : PERSISTENT - 1] == [MAX_WAIT_SECONDS] * 4
    assert waits[PERSISTENT - 1 :] == [600.0, 1200.0, *[MAX_PERSISTENT_WAIT_SECONDS] * 3]
    assert restarts.again(0.0, "B") == MAX_WAIT_SECONDS, "something has changed"


def test_a_first_start_waits_for_nothing_and_a_restart_for_what_is_left() -> None:
    restarts = Restarts()
    assert restarts.wait(0.0) == 0.0
    restarts.again(100.0, "A")
    assert [restarts.wait(now) for now in (100.0, 104.0, 110.0, 1e9)] == [10.0, 6.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("ran", "wait"), [(PROVEN_AFTER_SECONDS - 1, 4 * FIRST_WAIT_SECONDS), (PROVEN_AFTER_SECONDS, FIRST_WAIT_SECONDS)]
)
def test_a_run_that_was_long_enough_makes_the_next_failure_the_first(ran: float, wait: float) -> None:
    restarts = Restarts()
    restarts.again(0.0, "A")
    restarts.again(0.0, "A")
    restarts.note_running(100.0)
    restarts.note_running(100.0 + ran / 2)
    assert restarts.again(100.0 + ran, "A") == wait


def test_a_failure_before_it_ran_again_is_not_forgiven_for_the_run_before() -> None:
    restarts = Restarts()
    restarts.note_running(0.0)
    assert restarts.again(PROVEN_AFTER_SECONDS, "A") == FIRST_WAIT_SECONDS
    assert restarts.again(2 * PROVEN_AFTER_SECONDS, "A") == 2 * FIRST_WAIT_SECONDS


def test_the_second_failure_in_a_row_is_a_loop_of_the_last_cause() -> None:
    restarts = Restarts()
    assert restarts.loop(0.0) is None
    restarts.again(0.0, "A")
    assert restarts.loop(0.0) is None
    restarts.again(0.0, "A")
    assert restarts.loop(0.5) == CrashLoop("A", 2, 20)
    assert restarts.loop(19.5) == CrashLoop("A", 2, 1)
    assert restarts.loop(20.0) == CrashLoop("A", 2, None)
    restarts.again(30.0, "B")
    assert restarts.loop(30.0) == CrashLoop("B", 1, 40)


def test_the_run_that_ends_a_row_says_so_once() -> None:
    restarts = Restarts()
    restarts.again(0.0, "A")
    assert [restarts.note_running(now) for now in (10.0, 609.0, 610.0, 611.0)] == [False, False, True, False]
    assert restarts.crashes is None


@pytest.mark.parametrize(("boot_id", "wait"), [("b1", 15.0), ("b2", 0.0)])
def test_what_was_journaled_counts_on_and_its_wait_only_in_the_same_boot(boot_id: str, wait: float) -> None:
    before = Restarts(None, "b1")
    before.again(100.0, "A")
    before.again(100.0, "A")
    after = Restarts(before.crashes, boot_id)
    assert after.wait(105.0) == wait
    assert after.again(105.0, "A") == 40.0


def test_a_clock_that_is_another_one_after_all_makes_no_wait_longer() -> None:
    restarts = Restarts(Crashes(2, "A", 2, 20.0, 1e9, "b1"), "b1")
    assert restarts.wait(5.0) == 20.0


# In reports


def test_reports_name_the_loop_from_the_second_crash_until_it_has_run_for_long(world: AgentWorld) -> None:
    looping(world, 1)
    assert world.last_report().crash_loop is None
    until_started(world)
    world.settle(2)
    assert (world.last_report().status, world.last_report().crash_loop) == ("running", None)
    crash(world, OOM)
    assert world.last_report().crash_loop == CrashLoop("CUDA_OUT_OF_MEMORY", 2, 20)
    until_started(world)
    assert [each.message for about, each in world.server.reports if about == "d1"][-1] == "Starting"
    assert world.last_report().crash_loop == CrashLoop("CUDA_OUT_OF_MEMORY", 2)
    world.settle(2)
    assert (world.last_report().status, world.last_report().crash_loop) == (
        "running",
        CrashLoop("CUDA_OUT_OF_MEMORY", 2),
    )
    world.settle(2, PROVEN_AFTER_SECONDS)
    assert (world.last_report().status, world.last_report().crash_loop) == ("running", None)


def test_a_restarted_agent_keeps_the_count_the_cause_and_the_wait(world: AgentWorld) -> None:
    looping(world, 3)
    world.clock.pass_time(10)
    world.restart()
    world.beat(0)
    world.settle(1, seconds=0)
    assert world.last_report().crash_loop == CrashLoop("CUDA_OUT_OF_MEMORY", 3, 30), "of the 40 s that are left"
    assert 29 <= until_started(world) <= 31
    world.settle(2)
    crash(world, OOM)
    assert world.last_report().crash_loop == CrashLoop("CUDA_OUT_OF_MEMORY", 4, 80)


def test_a_reboot_keeps_the_count_and_starts_at_once(world: AgentWorld) -> None:
    looping(world, 3)
    world.reboot()
    world.beat(0)
    assert until_started(world) <= 2
    world.settle(2)
    crash(world, OOM)
    assert world.last_report().crash_loop == CrashLoop("CUDA_OUT_OF_MEMORY", 4, 80)


def test_a_loop_of_one_cause_says_that_it_backs_off_further(world: AgentWorld) -> None:
    looping(world, PERSISTENT)
    report = world.last_report()
    assert report.crash_loop == CrashLoop("CUDA_OUT_OF_MEMORY", PERSISTENT, 600)
    assert "starts again in 600 s: the same cause 10 times in a row" in (report.message or "")


def test_a_new_generation_starts_at_once_and_is_no_loop(world: AgentWorld) -> None:
    looping(world, PERSISTENT)
    world.deploy(generation=2)
    assert until_started(world) <= 2
    assert world.last_report().crash_loop is None
    world.settle(2)
    crash(world, OOM)
    assert (world.last_report().crash_loop, world.last_report().restarts) == (None, 1)


def test_one_that_fails_for_good_is_no_loop_any_more(world: AgentWorld) -> None:
    looping(world, 3)
    until_started(world)
    world.settle(2)
    crash(world, "ValueError: Free memory on device. Model architectures ['X'] are not supported for now.")
    assert world.last_report().status == "error" and world.last_report().crash_loop is None


def test_one_that_an_operator_stops_is_no_loop_any_more(world: AgentWorld) -> None:
    looping(world, 3)
    world.stop()
    world.settle()
    assert (world.last_report().status, world.last_report().crash_loop) == ("stopped", None)


def test_a_report_that_waited_tells_what_is_left_when_it_is_sent(world: AgentWorld) -> None:
    looping(world, 2)
    until_started(world)
    world.settle(2)
    world.engine.die(world.engine.only().id, 1, OOM)
    world.runtime.context.instance_cache.changed()
    world.runner().step(world.clock.monotonic())
    world.clock.pass_time(15)
    world.deliver()
    assert world.last_report().crash_loop == CrashLoop("CUDA_OUT_OF_MEMORY", 3, 25)
