"""The deployments of a host: who is active, and what becomes of an older intent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from muster.api.lifecycle import Status
from muster.api.messages import GpuDevice, GpuInfo, Orphan, Stop
from muster_agent.engines.base import EngineError, Instance, RunSpec
from muster_agent.gpus.gpu_usage import Gpu
from muster_agent.runner.manager import DeploymentManager
from muster_agent.state.deployments import Record
from muster_agent.wiring import Runtime
from tests.fixtures.agent_world import GIB, AgentWorld
from tests.fixtures.commands import deploy


def test_older_generation_is_acked_and_ignored(world: AgentWorld) -> None:
    world.deploy(generation=5)
    world.settle()
    world.stop(generation=4)
    world.settle()
    assert world.engine.only().generation == 5
    world.beat()
    assert world.server.pending == {}


def test_older_intent_is_answered_with_what_is_there(world: AgentWorld) -> None:
    world.deploy(generation=5)
    world.settle()
    world.beat()
    heard = len(world.server.reports)
    world.stop(generation=4)
    world.settle()
    said = [report for _, report in world.server.reports[heard:]]
    assert [(each.status, each.generation) for each in said] == [("running", 5)]
    assert world.engine.calls.count("start muster-d1-g5") == 1


def test_heartbeat_names_what_is_active(world: AgentWorld) -> None:
    world.probe.ready = set()
    world.deploy()
    assert world.server.beats[-1].active_deployments == []
    world.settle()
    world.beat()
    assert world.server.beats[-1].active_deployments == ["d1"]
    world.stop()
    world.settle()
    world.beat()
    assert world.server.beats[-1].active_deployments == []


def fleet_of(world: AgentWorld) -> tuple[DeploymentManager, list[str]]:
    """A fleet on the journal and the host of `world`, and the names of its deployments' threads."""
    started: list[str] = []

    def spawn(name: str, target: Callable[[], None]) -> None:
        if name.startswith("deployment-"):
            started.append(name)

    world.agent.runtime = Runtime.build("w1", replace(world.host, spawn=spawn), world.journal)
    return world.runtime.manager, started


def test_after_a_start_every_deployment_that_is_not_at_rest_has_a_thread(world: AgentWorld) -> None:
    for number, status in enumerate([None, Status.RUNNING, Status.STARTING, Status.STOPPED, Status.ERROR]):
        command = deploy()
        command.deployment_id = f"d{number}"
        world.journal.deployments_table.accept(command)
        world.journal.deployments_table.save(Record(command, status))
    manager, started = fleet_of(world)
    manager.resume()
    assert started == ["deployment-d0", "deployment-d1", "deployment-d2"]
    assert [each.deployment_id for each in manager.wanted()] == ["d0", "d1", "d2"]


def test_intents_for_one_deployment_share_one_thread(world: AgentWorld) -> None:
    manager, started = fleet_of(world)
    for command in (deploy(), deploy(), Stop("c2", "d1", 2)):
        world.journal.deployments_table.accept(command)
        manager.submit(command)
    assert started == ["deployment-d1"]


def test_a_closed_fleet_starts_no_thread(world: AgentWorld) -> None:
    manager, started = fleet_of(world)
    manager.close()
    world.journal.deployments_table.accept(deploy())
    manager.submit(deploy())
    assert started == []


def test_what_runs_for_a_deployment_at_rest_wakes_it_and_an_orphan_wakes_nobody(world: AgentWorld) -> None:
    world.journal.deployments_table.accept(deploy())
    world.journal.deployments_table.save(Record(deploy(), Status.STOPPED))
    manager, started = fleet_of(world)
    for number, owner in enumerate([("w1", "orphan"), ("w2", "d1")]):
        world.engine.add(Instance(f"i{number}", f"n{number}", "i", "running", *owner, 1))
    world.runtime.context.instance_cache.changed()
    world.runtime.context.instance_cache.instances()
    manager.notice()
    assert started == []
    world.engine.add(Instance("i2", "n2", "i", "running", "w1", "d1", 1))
    world.runtime.context.instance_cache.changed()
    world.runtime.context.instance_cache.instances()
    manager.notice()
    assert started == ["deployment-d1"]


def test_before_the_first_look_at_the_host_the_journal_tells_what_is_active(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.runtime.context.instance_cache.seen = None
    assert world.runtime.manager.active() == ["d1"]


def test_what_ran_before_a_reboot_is_active_while_the_engine_is_down_and_says_why_it_does_not_run(
    world: AgentWorld,
) -> None:
    """As absent it would count as lost, and its GPU be given to another, before it is started again."""
    world.deploy()
    world.settle()
    world.engine.down = True
    world.reboot()
    for _ in range(2):
        world.beat()
        beat = world.server.beats[-1]
        assert (beat.active_deployments, beat.pending_deployments) == (["d1"], [])
        world.settle(2)
    said = world.last_report()
    assert (said.status, said.message) == ("starting", "Waits for the engine. DOCKER_UNAVAILABLE: the engine is down")
    world.engine.down = False
    world.settle()
    assert world.last_report().status == "running"


def test_what_is_journaled_and_not_begun_is_pending(world: AgentWorld) -> None:
    for each in ("ends", "failed", "runs"):
        world.deploy(deployment_id=each, image="vllm/vllm-openai:none" if each == "failed" else None)
        world.settle()
    world.engine.down = True
    world.stop(deployment_id="ends")
    world.deploy(deployment_id="waits")
    world.beat()
    assert world.server.beats[-1].pending_deployments == ["waits"]
    world.restart()
    world.beat()
    assert world.server.beats[-1].pending_deployments == ["waits"]
    world.engine.down = False
    world.settle()
    world.beat()
    assert world.server.beats[-1].pending_deployments == []


@pytest.mark.parametrize("is_answered", [True, False], ids=["the start is answered", "its answer is lost"])
def test_what_was_started_before_the_engine_failed_is_active_also_once_it_is_to_stop(
    world: AgentWorld, is_answered: bool
) -> None:
    """Nobody could look since: as absent, it would count as stopped, and its GPU be given to another."""
    trouble = EngineError("DOCKER_UNAVAILABLE", "it hangs")
    start = world.engine.start

    def start_and_fail(spec: RunSpec) -> Instance:
        instance = start(spec)
        world.engine.trouble = trouble
        if not is_answered:
            raise trouble
        return instance

    world.engine.start = start_and_fail  # type: ignore[method-assign]
    world.deploy()
    world.settle()
    world.stop()
    assert world.runtime.manager.has_something_of("d1")
    for _ in range(3):
        world.settle(1)
        world.beat()
        assert world.server.beats[-1].active_deployments == ["d1"]
    world.engine.trouble = None
    world.settle()
    world.beat()
    assert world.server.beats[-1].active_deployments == []
    assert (world.last_report().status, world.engine.all) == ("stopped", {})


def test_after_a_restart_what_is_to_stop_is_active_until_somebody_could_look(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.engine.down = True
    world.stop()
    world.restart()
    world.beat()
    assert world.server.beats[-1].active_deployments == ["d1"]
    world.engine.down = False
    world.settle()
    world.beat()
    assert world.server.beats[-1].active_deployments == []


def test_an_end_is_expected_by_the_deployment_and_by_nobody_for_an_orphan(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    assert world.runtime.manager.expect_end(world.engine.only())
    assert not world.runtime.manager.expect_end(Instance("i9", "n9", "i", "running", "w1", "d9", 1))


def test_the_engine_holds_up_what_neither_runs_nor_is_at_rest(world: AgentWorld) -> None:
    for each in ("runs", "ends", "stopped", "failed", "comes-up"):
        if each == "comes-up":
            world.probe.ready = set()
        world.deploy(deployment_id=each, image="vllm/vllm-openai:none" if each == "failed" else None)
        world.settle()
    world.stop(deployment_id="stopped")
    world.settle()
    world.stop(deployment_id="ends")
    world.engine.down = True
    world.runtime.context.instance_cache.changed()
    world.runner("ends").step(world.clock.now)
    assert world.runtime.manager.held_up() == ["comes-up", "ends"]


def there(id_: str, deployment_id: str, worker_id: str, gpus: tuple[str, ...] | None) -> Instance:
    return Instance(id_, f"muster-{deployment_id}-g1", "i", "running", worker_id, deployment_id, 1, port=1, gpus=gpus)


def test_what_runs_without_a_command_is_an_orphan_with_its_gpus(world: AgentWorld) -> None:
    world.inventory = GpuInfo(2, [GpuDevice(0, uuid="GPU-a"), GpuDevice(5, uuid="GPU-b"), GpuDevice(6)])
    world.gpus = [Gpu(0, 80 * GIB, GIB, uuid="GPU-a", position=0)]
    world.deploy(gpus=[0])
    world.settle()
    world.beat()
    assert world.server.beats[-1].orphans is None, "what the agent was sent is none"
    for each in (
        there("1", "orphan", "w1", ("GPU-b", "6")),
        there("2", "without", "w1", ()),
        there("3", "past", "the-worker-before", ("GPU-b",)),
        there("4", "elsewhere", "a-neighbor", ("GPU-of-another-machine",)),
        there("5", "unknown", "w1", None),
        replace(there("6", "ended", "w1", ("GPU-b",)), state="exited"),
        Instance("7", "somebody's", "i", "running", gpus=("GPU-b",)),
    ):
        world.engine.add(each)
    world.settle(1)
    world.beat()
    beat = world.server.beats[-1]
    found = {each.deployment_id: each.gpus for each in beat.orphans or []}
    assert found == {"orphan": [5, 6], "without": [], "past": [5]}
    assert set(beat.active_deployments) == {"d1", "orphan", "without", "unknown"}


def test_what_runs_of_a_worker_that_this_host_was_is_told_also_without_gpus(world: AgentWorld) -> None:
    """It is among the active deployments, so that without this it might be on any GPU."""
    world.database.set_meta(past_workers="was-before")
    world.restart()
    world.engine.add(there("1", "past", "was-before", ()))
    world.settle(1)
    world.beat()
    assert world.server.beats[-1].orphans == [Orphan("past", [])]


def test_a_deployment_that_the_journal_knows_is_no_orphan(world: AgentWorld) -> None:
    world.inventory = GpuInfo(1, [GpuDevice(0)])
    world.deploy(gpus=[0])
    world.settle()
    world.restart()
    world.beat()
    assert world.runtime.manager.orphans(world.inventory) == []
