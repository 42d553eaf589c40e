"""Operations run once, and their results are journaled before they are sent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from muster.api.messages import OUTPUTS, DeleteImage, DiskUsage, PullImage
from muster_agent.backends.policy import TESTED_IMAGE
from muster_agent.operations.executor import POOL_OF, POOLS, Operations, kind
from tests.fixtures.agent_world import DAY, AgentWorld
from tests.fixtures.journals import BIG, fill, forbid_writing


def test_repeat_is_answered_from_the_journal(world: AgentWorld) -> None:
    first = world.ask("pull_image", image=TESTED_IMAGE)
    world.beat()
    assert world.ask("pull_image", image=TESTED_IMAGE) == first
    assert world.engine.calls.count(f"pull {TESTED_IMAGE}") == 1


def test_repeat_while_it_runs_does_not_run_it_again(world: AgentWorld) -> None:
    def again() -> None:
        world.order(type="pull_image", command_id="o1", expires_in=60, image=TESTED_IMAGE)

    world.engine.on_pull = again
    world.ask("pull_image", image=TESTED_IMAGE)
    world.runtime.operations.run_all()
    assert world.engine.calls.count(f"pull {TESTED_IMAGE}") == 1


def test_a_command_that_arrives_too_late_is_refused(world: AgentWorld) -> None:
    """Counted from when the heartbeat was sent: the answer may have been long on its way."""
    world.server.order(type="disk_usage", command_id="o1", expires_in=60)
    sent_at = world.host.clocks.moment()
    world.clock.pass_time(61)
    world.agent.tick(sent_at)
    world.deliver()
    assert world.result("o1")["error_code"] == "EXPIRED"


def test_an_interrupted_operation_does_not_run_again(world: AgentWorld) -> None:
    world.order(type="prune", command_id="o1", expires_in=600)
    world.journal.operations_table.begin("o1")
    world.kill()
    world.boot().beat()
    world.runtime.operations.run_all()
    world.deliver()
    assert world.result("o1")["error_code"] == "INTERRUPTED"


@pytest.mark.parametrize(("away", "outcome"), [(10, "succeeded"), (1000, "failed")])
def test_an_operation_that_had_not_begun_runs_after_a_restart_until_it_expires(
    world: AgentWorld, away: float, outcome: str
) -> None:
    world.order(type="disk_usage", command_id="o1", expires_in=60)
    world.kill()
    world.clock.pass_time(away)
    world.boot().beat(1)
    world.runtime.operations.run_all()
    world.deliver()
    assert world.result("o1")["status"] == outcome


@pytest.mark.parametrize("seconds", [-DAY, DAY])
@pytest.mark.parametrize(("away", "outcome"), [(10, "succeeded"), (61, "failed")])
def test_a_step_of_the_wall_clock_moves_no_deadline(
    world: AgentWorld, seconds: float, away: float, outcome: str
) -> None:
    world.order(type="disk_usage", command_id="o1", expires_in=60)
    world.clock.step(seconds)
    world.clock.pass_time(away)
    world.restart()
    world.beat(1)
    world.runtime.operations.run_all()
    world.deliver()
    assert world.result("o1")["status"] == outcome


def test_a_deadline_passes_while_the_host_is_suspended(world: AgentWorld) -> None:
    world.order(type="prune", command_id="o1", expires_in=60)
    world.clock.suspend(61)
    world.restart()
    world.beat(1)
    world.deliver()
    assert world.result("o1")["error_code"] == "EXPIRED"
    assert "prune" not in world.engine.calls


def test_what_had_not_begun_before_a_reboot_does_not_run_after_it(world: AgentWorld) -> None:
    """No clock tells how long the reboot took."""
    world.order(type="prune", command_id="o1", expires_in=600)
    world.reboot(seconds=20)
    world.beat(1)
    world.runtime.operations.run_all()
    world.deliver()
    assert world.result("o1")["error_code"] == "EXPIRED"
    assert "prune" not in world.engine.calls
    world.order(type="prune", command_id="o2", expires_in=600)
    world.restart()
    world.runtime.operations.run_all()
    world.beat(1)
    world.deliver()
    assert world.result("o2")["status"] == "succeeded", "its deadline is of this boot"


def test_deadlines_of_an_agent_that_kept_epoch_seconds_are_none(world: AgentWorld) -> None:
    world.order(type="prune", command_id="o1", expires_in=600)
    world.database.set_meta(deadlines_boot=None)
    world.restart()
    world.beat(1)
    world.deliver()
    assert world.result("o1")["error_code"] == "EXPIRED"


def test_progress_of_a_pull_is_sent_and_replaced_by_its_result(world: AgentWorld) -> None:
    world.ask("pull_image", image=TESTED_IMAGE)
    assert [result.status for _, result in world.server.results] == ["succeeded"]

    world.engine.on_pull = world.deliver
    world.ask("pull_image", command_id="o2", image=TESTED_IMAGE)
    assert [result.status for about, result in world.server.results if about == "o2"] == ["running", "succeeded"]


def test_a_bug_in_one_operation_fails_that_operation_alone(world: AgentWorld) -> None:
    def bug() -> None:
        raise ZeroDivisionError

    world.engine.on_pull = bug
    assert world.ask("pull_image", image="i")["error_code"] == "OPERATION_FAILED"
    assert world.ask("disk_usage", command_id="o2")["status"] == "succeeded"


def test_full_disk_can_be_looked_at_and_freed_even_without_a_reserve(world: AgentWorld) -> None:
    world.ask("pull_image", command_id="o0", image="vllm/vllm-openai:latest")
    world.journal.operations_table.accept(DeleteImage("gives up the reserve", 60, BIG), 0)
    fill(world.database)
    assert world.ask("list_images", command_id="o1")["output"]["images"]
    assert world.ask("prune", command_id="o2", images=True, dry_run=True)["output"]["space_reclaimed"] == 1000
    assert world.ask("prune", command_id="o3", images=True)["output"]["space_reclaimed"] == 1000
    world.order(type="prune", command_id="o3", expires_in=60, images=True)
    world.runtime.operations.run_all()
    assert world.engine.calls.count("prune") == 1, "again is not twice"


def test_looking_does_not_cost_the_reserve(world: AgentWorld) -> None:
    fill(world.database)
    world.ask("list_models", command_id="o1")
    world.ask("prune", command_id="o2", images=True, dry_run=True)
    assert (world.state.path / "reserve").exists()


def test_every_operation_has_a_pool_with_threads_and_pulls_have_their_own() -> None:
    assert POOL_OF.keys() <= OUTPUTS.keys()
    assert {*POOL_OF.values(), "quick"} == POOLS.keys()
    assert min(POOLS.values()) > 0
    assert [type for type, pool in POOL_OF.items() if pool == "pull"] == ["pull_image"]
    assert kind(DiskUsage("o1", 60)) == "disk_usage"


def test_a_thread_is_started_for_each_place_in_a_pool(world: AgentWorld) -> None:
    started: list[str] = []
    host = replace(world.host, spawn=lambda name, target: started.append(name))
    Operations(replace(world.runtime.context, host=host), world.runtime.operations._handlers)
    assert sorted(started) == sorted(f"{name}-{number}" for name, size in POOLS.items() for number in range(size))


def test_an_operation_that_the_agents_end_cancels_is_interrupted_after_the_restart(world: AgentWorld) -> None:
    def end() -> None:
        world.runtime.operations.close()

    world.engine.on_pull = end
    world.order(type="pull_image", command_id="o1", expires_in=600, image=TESTED_IMAGE)
    world.runtime.operations.run_all()
    world.deliver()
    assert [result.status for _, result in world.server.results] == ["running"], "it has no result yet"
    world.engine.on_pull = lambda: None
    world.restart()
    world.beat()
    world.deliver()
    assert world.result("o1")["error_code"] == "INTERRUPTED"


def test_a_disk_that_cannot_be_written_when_it_begins_fails_what_changes_something(world: AgentWorld) -> None:
    world.journal.operations_table.accept(PullImage("o1", 600, TESTED_IMAGE), world.clock.boottime() + 600)
    forbid_writing(world.database)
    world.runtime.operations.run(PullImage("o1", 600, TESTED_IMAGE))
    assert world.engine.calls == []
    held = world.journal.outbox.first()
    assert held is not None and held.body["error_code"] == "STATE_UNAVAILABLE"
