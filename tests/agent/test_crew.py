"""Everybody who works for one worker id: what they know before the first heartbeat."""

from __future__ import annotations

import shutil

from tests.fixtures.agent_world import AgentWorld


def test_first_beat_after_a_restart_knows_what_runs(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.restart()
    world.beat()
    assert world.server.beats[-1].active_deployments == ["d1"]


def test_first_beat_after_a_lost_disk_knows_what_runs(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.kill()
    shutil.rmtree(world.folder / "state")
    world.boot()
    world.beat()
    assert world.server.beats[-1].active_deployments == ["d1"]


def test_an_engine_that_is_down_at_the_start_does_not_keep_the_agent_from_beating(world: AgentWorld) -> None:
    world.engine.down = True
    world.kill()
    world.boot()
    world.beat()
    assert world.server.beats
