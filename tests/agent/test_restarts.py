"""When an instance that died may start again."""

from __future__ import annotations

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
