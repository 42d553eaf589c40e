"""What an agent finds when it starts again: adoption, healing, reboots, poison, lost journals."""

from __future__ import annotations

import shutil
import sqlite3

import pytest

from tests.fixtures.agent_world import AgentWorld


def start_again(world: AgentWorld) -> None:
    world.kill()
    world.boot()


def test_running_model_is_adopted(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    before, calls = world.engine.only(), list(world.engine.calls)
    start_again(world)
    world.beat()
    world.settle()
    assert (world.engine.only(), world.engine.calls) == (before, calls)
    assert world.statuses() == ["downloading", "starting", "running"]
    assert world.last_report().session == 2


def test_first_beat_after_a_restart_knows_what_runs(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    start_again(world)
    world.beat()
    assert world.server.beats[-1].active_deployments == ["d1"]


def test_killed_in_the_middle_of_a_pull(world: AgentWorld) -> None:
    world.deploy()
    world.engine.on_pull = world.kill
    with pytest.raises(sqlite3.ProgrammingError):
        world.actor().step(world.clock.now)
    world.engine.on_pull = lambda: None
    world.boot().beat()
    world.settle()
    assert world.statuses()[-1] == "running"
    assert world.last_report().restarts == 0


def test_crash_while_the_agent_was_away_is_a_crash(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.engine.die(world.engine.only().id, 1, "RuntimeError: x")
    start_again(world)
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
    start_again(world)
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
    start_again(world)
    world.beat()
    world.settle()
    assert world.engine.all == {}


def test_command_that_killed_the_agent_three_times_is_poison(world: AgentWorld) -> None:
    world.deploy()
    for _ in range(3):
        record = world.actor().record
        world.memory.records.save(type(record)(record.command, attempts=record.attempts + 1))
        start_again(world)
    world.beat()
    world.settle()
    assert world.statuses() == ["error"]
    assert world.last_report().error_code == "POISON_COMMAND"
    assert world.engine.calls == []
    world.deploy(generation=2)
    world.settle()
    assert world.statuses()[-1] == "running"


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


def test_broken_journal_is_put_aside(world: AgentWorld) -> None:
    world.kill()
    (world.state.path / "journal").write_bytes(b"not a database" * 1000)
    world.boot().beat()
    assert (world.state.path / "journal.broken").exists()
    assert world.server.session == 2


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
