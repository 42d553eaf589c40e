"""What is wrong with the state folder is noted with every heartbeat, and named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from muster.api.messages import ReportedCondition
from muster_agent.conditions import CLEARED_AFTER_SECONDS
from muster_agent.state.dir import StateError
from tests.fixtures.agent_world import AgentWorld
from tests.fixtures.journals import forbid_writing
from tests.fixtures.small_disk import fill, needs_root, read_only, small_disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "8m") as disk:
        yield disk


def reported(world: AgentWorld, beats: int = 1) -> dict[str, ReportedCondition]:
    for _ in range(beats):
        world.beat()
    return {each.type: each for each in world.server.beats[-1].conditions or []}


def test_a_state_folder_in_order_is_no_condition(world: AgentWorld) -> None:
    assert reported(world, 4) == {}


@needs_root
def test_a_read_only_folder_is_a_condition_and_the_agent_beats_and_leaves_models_alone(disk: Path) -> None:
    world = AgentWorld(disk).boot()
    world.deploy(deployment_id="runs")
    world.settle()
    with read_only(disk):
        world.stop(deployment_id="runs")
        world.deploy(deployment_id="new")
        conditions = reported(world)
        world.settle()
        assert "is on a read-only file system" in conditions["StateUnavailable"].message
        assert "mount -o remount,rw" in conditions["StateUnavailable"].message
        assert world.engine.only().deployment_id == "runs"
        assert (world.last_report("runs").status, world.last_report("runs").error_code) == ("stopping", None)
        assert "Not stopped yet. STATE_UNAVAILABLE" in (world.last_report("runs").message or "")
        assert world.last_report("new").error_code == "STATE_UNAVAILABLE"
    world.stop(deployment_id="runs")
    world.settle()
    assert world.last_report("runs").status == "stopped", "the command came again, and could be journaled"
    assert reported(world, int(CLEARED_AFTER_SECONDS / 30) + 1) == {}


@needs_root
def test_an_agent_that_starts_on_a_read_only_folder_is_the_same_worker_and_writes_again_when_it_can(
    disk: Path,
) -> None:
    world = AgentWorld(disk).boot()
    world.beat()
    world.deploy()
    world.settle()
    world.kill()
    with read_only(disk):
        world.boot()
        assert "StateUnavailable" in reported(world, 3)
        world.settle()
        assert world.engine.only().deployment_id == "d1" and world.server.beats[-1].active_deployments == ["d1"]
        assert world.last_report().restarts == 0
    world.beat()
    world.stop()
    world.settle()
    assert world.last_report().status == "stopped"
    assert reported(world, int(CLEARED_AFTER_SECONDS / 30) + 1) == {}
    world.restart()
    record = world.journal.deployments_table.get("d1")
    assert record is not None and record.status == "stopped", "it is journaled"


@needs_root
def test_a_full_disk_is_a_condition_until_there_is_room(disk: Path) -> None:
    world = AgentWorld(disk).boot()
    world.beat()
    fill(disk)
    assert "is full: free some space" in reported(world, 2)["StateUnavailable"].message
    (disk / "ballast").unlink()
    assert reported(world, int(CLEARED_AFTER_SECONDS / 30) + 2) == {}


def test_a_journal_that_could_not_be_written_is_tried_with_every_heartbeat_until_it_can(world: AgentWorld) -> None:
    forbid_writing(world.database)
    world.deploy()
    assert "cannot be written: attempt to write" in reported(world, 2)["StateUnavailable"].message
    world.database.connection.execute("PRAGMA query_only = OFF")
    assert reported(world, int(CLEARED_AFTER_SECONDS / 30) + 2) == {}


def test_a_damaged_journal_that_was_kept_is_a_condition_until_somebody_removes_it(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.kill()
    (world.state.path / "journal").write_bytes(b"not a database" * 1000)
    world.boot()
    condition = reported(world, 2)["StateDamaged"]
    assert condition.deployments == [], "it holds up nothing"
    (kept,) = world.state.path.glob("journal.damaged-*")
    assert str(kept) in condition.message
    assert world.server.beats[-1].active_deployments == ["d1"], "known by its labels"
    world.restart()
    assert "StateDamaged" in reported(world, 2)
    kept.unlink()
    assert reported(world, int(CLEARED_AFTER_SECONDS / 30) + 2) == {}


def test_a_journal_that_is_damaged_under_the_agent_ends_the_heartbeats_loop(world: AgentWorld) -> None:
    (world.state.path / "journal").unlink()
    for act in (world.deploy, world.beat):
        with pytest.raises(StateError, match="is damaged or was deleted"):
            act()


def test_text_that_is_none_is_damage(world: AgentWorld) -> None:
    world.database.connection.execute("UPDATE meta SET value = CAST(x'ff' AS TEXT) WHERE key = 'token'")
    with pytest.raises(StateError):
        world.database.meta("token")
    with pytest.raises(StateError):
        world.beat()
