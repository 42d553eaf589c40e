"""What an agent finds when it starts again, across its journal, its crew and its deployments."""

from __future__ import annotations

import sqlite3

import pytest

from tests.fixtures.agent_world import AgentWorld


def test_running_model_is_adopted(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    before, calls = world.engine.only(), list(world.engine.calls)
    world.restart()
    world.beat()
    world.settle()
    assert (world.engine.only(), world.engine.calls) == (before, calls)
    assert world.statuses() == ["downloading", "starting", "running"]
    assert world.last_report().session == 2


def test_an_agent_killed_in_the_middle_of_a_pull_pulls_again(world: AgentWorld) -> None:
    world.deploy()
    world.engine.on_pull = world.kill
    with pytest.raises(sqlite3.ProgrammingError):
        world.runner().step(world.clock.monotonic())
    world.engine.on_pull = lambda: None
    world.boot().beat()
    world.settle()
    assert world.statuses()[-1] == "running"
    assert world.last_report().restarts == 0


def test_crash_while_the_agent_was_away_is_a_crash(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.engine.die(world.engine.only().id, 1, "RuntimeError: x")
    world.restart()
    world.beat()
    world.settle(10)
    assert world.statuses()[-2:] == ["starting", "running"]
    assert world.last_report().restarts == 1


def test_after_a_reboot_models_run_again_unaided(world: AgentWorld) -> None:
    world.deploy(restart="never")
    world.settle()
    world.engine.die(world.engine.only().id, 137)
    world.kill()
    world.server.failures = [ConnectionError()] * 1000
    world.run = "second run"
    world.boot()
    world.settle()
    assert world.engine.only().generation == 1
    world.server.failures = []
    world.beat()
    world.settle()
    assert (world.last_report().status, world.last_report().restarts) == ("running", 0)


def test_reports_wait_in_order_for_the_control_plane(world: AgentWorld) -> None:
    world.deploy()
    world.server.failures = [ConnectionError()] * 1000
    world.settle()
    assert world.server.reports == []
    world.restart()
    world.server.failures = []
    world.beat()
    world.settle()
    assert world.statuses() == ["downloading", "starting", "running"]


def test_operator_ended_it_and_it_stays_ended(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    assert world.ask("stop_container", container_id="d1")["status"] == "succeeded"
    world.settle()
    assert world.statuses()[-1] == "stopped"
    world.restart()
    world.beat()
    world.settle()
    assert world.engine.all == {}


def test_lost_journal_is_said_and_what_runs_is_adopted(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    journal_id, before = world.database.journal_id, world.engine.only()
    world.kill()
    (world.state.path / "journal").unlink()
    world.boot().beat()
    world.settle(1)
    world.beat()
    assert world.server.beats[-1].journal_id != journal_id
    assert world.server.beats[-1].active_deployments == ["d1"]
    world.deploy()
    world.settle()
    assert world.engine.only() == before
    assert world.statuses()[-1] == "running"


def test_orphan_is_shown_and_left_alone(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.kill()
    (world.state.path / "journal").unlink()
    world.boot().beat()
    world.settle(5)
    assert world.engine.only().deployment_id == "d1"
    world.ask("stop_container", container_id="d1")
    assert world.engine.all == {}


def test_stopped_deployment_that_somebody_started_by_hand_is_stopped(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    instance = world.engine.only()
    world.stop()
    world.settle()
    world.engine.add(instance)
    world.settle()
    assert world.engine.all == {}
