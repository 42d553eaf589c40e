"""Which clock measures what, and when two instants can be compared."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from muster_agent.host import clocks
from muster_agent.host.clocks import Moment
from tests.fixtures.agent_world import DAY, AgentWorld


def test_the_time_between_two_moments_is_that_of_the_clock_that_counts_suspension() -> None:
    earlier = Moment(wall=5000.0, boottime=100.0, boot_id="a")
    assert Moment(wall=1.0, boottime=160.0, boot_id="a").since(earlier) == 60.0
    assert Moment(wall=5000.0, boottime=99.0, boot_id="a").since(earlier) == 0.0


def test_moments_of_two_boots_cannot_be_compared() -> None:
    assert Moment(5060.0, 160.0, "b").since(Moment(5000.0, 100.0, "a")) is None


def test_boottime_is_the_kernels_and_never_behind_the_monotonic_clock() -> None:
    before = time.monotonic()
    assert clocks.boottime() >= before


def test_the_boot_is_what_the_kernel_says(tmp_path: Path) -> None:
    assert clocks.boot_id() == clocks.BOOT_ID.read_text().strip()
    (tmp_path / "boot_id").write_text("a boot\n")
    assert clocks.boot_id(tmp_path / "boot_id") == "a boot"


def test_where_the_kernel_says_nothing_each_process_is_a_boot_of_its_own(tmp_path: Path) -> None:
    unknown = clocks.boot_id(tmp_path / "none")
    assert unknown == clocks.boot_id(tmp_path / "none") != ""
    assert unknown != clocks.boot_id()


def test_a_moment_is_on_every_clock_of_the_host(world: AgentWorld) -> None:
    world.clock.suspend(60)
    assert world.host.clocks.moment() == Moment(world.clock.now, world.clock.uptime, world.boot_id)


# What a step of the wall clock does to a deployment: nothing

STEPS = pytest.mark.parametrize("step", [-DAY, DAY, -1_000_000.0])
"""As after NTP's first answer, a resume, or a boot without a clock."""


@STEPS
def test_a_model_that_misses_one_probe_is_not_ended_for_a_step(world: AgentWorld, step: float) -> None:
    world.deploy()
    world.settle()
    running = world.engine.only()
    world.probe.hung = True
    world.settle(1, seconds=10)
    world.clock.step(step)
    world.settle(1, seconds=10)
    world.probe.hung = False
    world.settle(10, seconds=10)
    assert world.engine.only() == running
    world.probe.hung = True
    world.settle(6, seconds=10)
    assert f"stop {running.id}" in world.engine.calls, "one that hangs is ended in time all the same"


@STEPS
def test_a_start_is_stalled_after_ten_minutes_whatever_the_wall_clock_does(world: AgentWorld, step: float) -> None:
    world.probe.ready.clear()
    world.deploy()
    world.settle()
    loading = world.engine.only()
    for _ in range(5):
        world.clock.step(step)
        world.settle(1, seconds=60)
        world.clock.step(-step)
        world.settle(1, seconds=30)
    assert world.engine.only() == loading
    world.settle(4, seconds=60)
    assert world.last_report().error_code == "START_STALLED"


@STEPS
def test_a_restart_waits_as_long_as_it_says(world: AgentWorld, step: float) -> None:
    world.deploy()
    world.settle()
    world.engine.die(world.engine.only().id, 1, "RuntimeError: something odd")
    world.settle(1, seconds=1)
    world.clock.step(step)
    world.settle(4, seconds=2)
    assert not [each for each in world.engine.all.values() if each.state == "running"]
    world.settle(4, seconds=2)
    assert world.engine.only().deployment_id == "d1"


@STEPS
def test_a_step_makes_no_failing_model_one_that_ran_long(world: AgentWorld, step: float) -> None:
    world.deploy()
    world.settle()
    for backoff in (10, 20, 40):
        world.engine.die(world.engine.only().id, 1)
        world.settle(1)
        assert f"{backoff} s" in (world.last_report().message or "")
        world.settle(30, seconds=5)
        world.clock.step(step)
        world.settle(1)


@STEPS
def test_the_heartbeat_comes_when_it_is_due(world: AgentWorld, step: float) -> None:
    waited: list[float] = []

    def wait(seconds: float) -> bool:
        waited.append(seconds)
        world.clock.pass_time(seconds)
        world.clock.step(step)
        return len(waited) > 5

    world.agent.run(world.clock.monotonic, wait)
    assert waited == [0.0, *[30.0] * 5]


def test_the_time_of_a_saved_log_is_wall_clock_time(world: AgentWorld) -> None:
    """It is shown, and never compared."""
    world.deploy()
    world.settle()
    world.clock.step(DAY)
    world.engine.die(world.engine.only().id, 1, "RuntimeError: something odd")
    world.settle(10)
    (saved,) = world.database.read("SELECT saved_at FROM saved_logs")
    assert abs(saved["saved_at"] - world.clock.now) < 60
