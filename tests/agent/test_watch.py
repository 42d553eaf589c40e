"""The watch looks at the host every few seconds, whatever the engine does."""

from __future__ import annotations

import logging

import pytest

from agent.engines import Instance
from agent.watch import Watch
from tests.fixtures.agent_world import AgentWorld


@pytest.fixture
def watch(world: AgentWorld) -> Watch:
    world.crew.inventory.changed()
    return Watch(world.crew.inventory, world.crew.fleet, world.host.listening)


def test_a_step_leaves_what_is_there_for_the_heartbeat(world: AgentWorld, watch: Watch) -> None:
    world.engine.add(Instance("i1", "muster-d1-g1", "image", "running", "w1", "d1", 1))
    watch.step()
    assert world.crew.inventory.seen == (world.engine.only(),)
    world.beat()
    assert world.server.beats[-1].active_deployments == ["d1"]


def test_an_engine_that_is_down_is_logged_once_until_it_is_up_again(
    world: AgentWorld, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "agent.watch")
    for down in (True, True, False, True):
        world.engine.down = down
        world.crew.inventory.changed()
        watch.step()
    assert len(caplog.records) == 2


def test_a_closed_watch_ends_and_looks_no_more(world: AgentWorld, watch: Watch) -> None:
    world.engine.add(Instance("i1", "n1", "image", "running"))
    watch.close()
    watch.run()
    assert world.crew.inventory.seen == ()
