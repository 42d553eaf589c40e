"""One generation of a deployment, from command to report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from muster.api.conditions import ConditionType
from muster_agent.engines.base import EngineError, Instance, RunSpec
from muster_agent.gpus.gpu_usage import Gpu
from muster_agent.runner.instance_monitor import (
    READY_PROBE_EVERY_SECONDS,
    WATCH_EVERY_SECONDS,
)
from muster_agent.runner.reconciler import MAX_ATTEMPTS, MAX_STEP_DELAY_SECONDS
from tests.fixtures.agent_world import GIB, AgentWorld

LOST = Gpu(0, 80 * GIB, 0, uuid="GPU-a", position=0, lost="GPU is lost (NVML error 15)")

VPN, OTHER = "10.99.7.7", "10.99.7.8"


def test_deploy_pulls_starts_and_runs(world: AgentWorld) -> None:
    world.deploy(config={"max_model_len": 4096})
    world.settle()
    assert world.statuses() == ["downloading", "starting", "running"]
    report, instance = world.last_report(), world.engine.only()
    assert (report.container_id, report.port, report.generation) == (instance.id, instance.port, 1)
    assert report.session == world.server.session
    assert "--max-model-len" in world.engine.specs[0].arguments


def test_stop_is_stopped_whatever_its_exit_code(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.stop()
    world.settle()
    assert world.statuses() == ["downloading", "starting", "running", "stopping", "stopped"]
    assert world.engine.all == {}
    assert world.last_report().error_code is None


def test_a_stop_of_what_never_ran_is_reported_as_stopped(world: AgentWorld) -> None:
    world.stop(generation=7)
    world.settle()
    assert world.statuses() == ["stopped"]
    assert world.last_report().generation == 7


def test_newer_generation_replaces_the_container(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.deploy(generation=2)
    world.settle()
    assert world.engine.only().generation == 2
    assert len(world.engine.all) == 1
    assert world.last_report().generation == 2
    assert world.statuses()[-1] == "running"


def test_failed_replacement_leaves_nothing_of_the_old(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.deploy(generation=2, image="vllm/vllm-openai:absent")
    world.settle()
    assert world.last_report().error_code == "IMAGE_NOT_FOUND"
    assert world.engine.all == {}


def test_passing_trouble_at_start_is_retried(world: AgentWorld) -> None:
    def busy(spec: RunSpec) -> None:
        raise EngineError("GPU_UNAVAILABLE", "the GPU is lost")

    world.engine.on_start = busy
    world.deploy()
    world.settle(2)
    assert (world.statuses()[-1], world.last_report().error_code) == ("starting", "GPU_UNAVAILABLE")
    world.engine.on_start = lambda spec: None
    world.settle(10)
    assert world.statuses()[-1] == "running"


def test_others_instances_are_left_alone(world: AgentWorld) -> None:
    stranger = Instance("s1", "muster-d1-g1", "vllm/vllm-openai:latest", "running", "another-worker", "d1", 1)
    plain = Instance("s2", "postgres", "postgres", "running")
    world.engine.add(stranger)
    world.engine.add(replace(plain, name="db"))
    world.stop()
    world.settle()
    assert {each.id for each in world.engine.all.values()} == {"s1", "s2"}
    assert [each for each in world.engine.calls if each.startswith("stop")] == []


@pytest.mark.parametrize("intent", ["deploy", "stop"])
def test_something_newer_than_the_intent_is_left_alone(world: AgentWorld, intent: str) -> None:
    world.engine.add(Instance("n1", "muster-d1-g9", "i", "running", "w1", "d1", 9))
    getattr(world, intent)(generation=3)
    world.settle()
    assert world.statuses() == []
    assert world.engine.only().id == "n1"


def test_command_that_killed_the_agent_three_times_is_poison(world: AgentWorld) -> None:
    world.deploy()
    for _ in range(3):
        record = world.runner().record
        world.journal.deployments_table.save(type(record)(record.command, attempts=record.attempts + 1))
        world.restart()
    world.beat()
    world.settle()
    assert world.statuses() == ["error"]
    assert world.last_report().error_code == "POISON_COMMAND"
    assert world.engine.calls == []
    world.deploy(generation=2)
    world.settle()
    assert world.statuses()[-1] == "running"


@pytest.mark.parametrize("attempts", range(MAX_ATTEMPTS + 2))
def test_a_command_is_tried_until_the_agent_has_died_of_it_too_often(world: AgentWorld, attempts: int) -> None:
    world.deploy()
    world.journal.deployments_table.save(replace(world.runner().record, attempts=attempts))
    world.restart()
    world.runner().step(world.clock.monotonic())
    assert bool(world.engine.specs) is (attempts < MAX_ATTEMPTS)


AWAY = (EngineError("DOCKER_UNAVAILABLE", "down"), EngineError("CONTAINER_FAILED", "server error"))


@pytest.mark.parametrize("trouble", AWAY, ids=["down", "answers 500"])
@pytest.mark.parametrize("phase", ["image", "pull", "start", "run"])
def test_an_engine_that_does_not_answer_is_no_crash_of_a_deployment(
    world: AgentWorld, trouble: EngineError, phase: str
) -> None:
    def fail(*_: object) -> None:
        world.engine.trouble = trouble
        world.engine.on_pull, world.engine.on_start = lambda: None, lambda spec: None
        world.engine.has_image = has_image  # type: ignore[method-assign]
        raise trouble

    has_image = world.engine.has_image
    if phase == "image":
        world.engine.has_image = fail  # type: ignore[assignment, method-assign]

    if phase == "pull":
        world.engine.on_pull = fail
    if phase == "start":
        world.engine.on_start = fail
    world.deploy()
    world.settle(20)
    if phase == "run":
        world.engine.trouble = trouble
        world.settle(40, seconds=60)
    assert world.engine.trouble is trouble
    world.engine.trouble = None
    world.settle()
    assert (world.last_report().status, world.last_report().restarts) == ("running", 0)
    assert all(report.error_code is None for _, report in world.server.reports)
    assert len([each for each in world.engine.calls if each.startswith("stop")]) == 0


def test_a_daemon_that_was_away_for_one_question_is_no_crash_of_a_deployment(world: AgentWorld) -> None:
    away = [EngineError("DOCKER_UNAVAILABLE", "down")]

    def fail(spec: RunSpec) -> None:
        if away:
            raise away.pop()

    world.engine.on_start = fail
    world.deploy(restart="never")
    world.settle()
    assert (world.last_report().status, world.last_report().restarts) == ("running", 0)


def test_what_waits_for_the_engine_says_so_until_there_is_something_to_do(world: AgentWorld) -> None:
    world.deploy(deployment_id="runs")
    world.settle()
    world.engine.down = True
    world.deploy(deployment_id="waits")
    world.deploy(deployment_id="ends")
    world.settle(1)
    assert world.statuses("waits") == [], "one look may be chance"
    world.settle(10)
    waits = "Waits for the engine. DOCKER_UNAVAILABLE: the engine is down"
    assert [(each.status, each.message) for each in world.reports("waits")] == [("starting", waits)]
    world.stop(deployment_id="ends")
    world.settle(10)
    assert (world.last_report("ends").status, world.last_report("ends").message) == ("stopping", waits)
    assert world.last_report("runs").status == "running"
    world.probe.ready, world.engine.down = set(), False
    world.settle(3)
    assert world.last_report("waits").message == "Starting"
    world.probe.ready = {"org/model"}
    world.settle()
    assert [world.last_report(each).status for each in ("waits", "ends", "runs")] == ["running", "stopped", "running"]


def test_a_step_that_fails_while_the_engine_answers_is_the_deployments_own_failure(world: AgentWorld) -> None:
    def fail(spec: RunSpec) -> None:
        raise EngineError("CONTAINER_FAILED", "OCI runtime create failed")

    world.engine.on_start = fail
    world.deploy(restart="never")
    world.settle()
    assert (world.last_report().status, world.last_report().error_code) == ("error", "CONTAINER_FAILED")


@pytest.mark.parametrize("restart", ["on-failure", "never"])
def test_a_model_waits_for_an_address_that_is_missing_at_the_start_of_the_agent(
    world: AgentWorld, boot: Callable[..., AgentWorld], restart: str
) -> None:
    boot(VPN).deploy(restart=restart)
    world.settle(20, seconds=60)
    assert world.statuses() == ["starting"]
    assert VPN in (world.last_report().message or "")
    assert [each.type for each in world.conditions.current()] == [ConditionType.ADDRESS_MISSING]
    world.addresses.add(VPN)
    world.settle(10)
    assert world.statuses()[-1] == "running"
    assert (world.engine.only().bind, world.last_report().restarts) == (VPN, 0)


@pytest.mark.parametrize("restart", ["on-failure", "never"])
def test_a_start_that_loses_the_address_is_no_failure(
    world: AgentWorld, boot: Callable[..., AgentWorld], restart: str
) -> None:
    def lost(spec: object) -> None:
        if VPN not in world.addresses:
            raise EngineError("ADDRESS_MISSING", f"listen tcp4 {VPN}:20000: bind: cannot assign requested address")

    world.engine.on_start = lost
    boot(VPN, VPN).deploy(restart=restart)
    world.host.listening.refresh()
    world.addresses = {"127.0.0.1"}
    world.runner().step(world.clock.monotonic())
    world.settle(3)
    assert world.statuses()[-1] == "starting"
    world.addresses.add(VPN)
    world.settle(10)
    assert (world.statuses()[-1], world.last_report().restarts) == ("running", 0)


def test_a_deployment_waits_for_a_lost_gpu_and_starts_when_it_is_back(world: AgentWorld) -> None:
    world.gpus = [LOST]
    world.deploy(gpus=[0], restart="never")
    world.settle(30, 20.0)
    report = world.last_report()
    assert (report.status, report.error_code, report.restarts) == ("starting", None, 0)
    for word in ("Waits for its GPU", "GPU 0", "GPU-a", "GPU is lost (NVML error 15)", "reboot"):
        assert word in (report.message or "")
    assert [each.message for _, each in world.server.reports].count(report.message) == 1, "it is said once"
    assert world.engine.specs == []
    world.gpus = [Gpu(0, 80 * GIB, GIB, uuid="GPU-a", position=0)]
    world.settle(10)
    assert world.statuses()[-1] == "running"


def test_what_still_runs_is_left_alone_when_its_gpu_is_lost(world: AgentWorld) -> None:
    world.gpus = [Gpu(0, 80 * GIB, GIB, uuid="GPU-a", position=0)]
    world.deploy(gpus=[0])
    world.settle()
    world.gpus = [LOST]
    world.settle(10)
    assert world.statuses()[-1] == "running"
    assert world.engine.only().state == "running"


def test_how_soon_it_looks_again_follows_from_what_it_waits_for(world: AgentWorld) -> None:
    world.probe.ready = set()
    world.deploy()
    assert [world.step(), world.step(1)] == [READY_PROBE_EVERY_SECONDS, READY_PROBE_EVERY_SECONDS], "it comes up"
    world.probe.ready = {"org/model"}
    assert [world.step(1), world.step(5)] == [WATCH_EVERY_SECONDS, WATCH_EVERY_SECONDS], "it runs"
    world.engine.die(world.engine.only().id, 1)
    assert [world.step(5), world.step(7)] == [MAX_STEP_DELAY_SECONDS, 3.0], "it waits for the next try"
    assert world.step(3) == READY_PROBE_EVERY_SECONDS, "it was started again"
    world.stop()
    assert [world.step(), world.step()] == [None, None], "it has ended"


def test_what_failed_is_looked_at_again_at_once_and_then_left_until_the_next_try(world: AgentWorld) -> None:
    world.free_disk = 0
    world.deploy()
    assert [world.step(), world.step(), world.step(5)] == [0.0, MAX_STEP_DELAY_SECONDS, 5.0]
    assert world.last_report().restarts == 1, "while it waits, nothing is tried"
    assert world.step(5) == 0.0
    assert world.last_report().restarts == 2


def test_an_instance_is_missed_once_it_was_there(world: AgentWorld) -> None:
    world.deploy()
    assert not world.runner().misses([])
    world.settle()
    assert world.runner().misses(["another"])
    assert not world.runner().misses([world.engine.only().id])


def test_what_keeps_others_from_starting_does_not_touch_what_runs(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.free_disk = 0
    world.settle()
    assert (world.last_report().status, world.last_report().error_code) == ("running", None)


def test_a_second_instance_of_the_same_generation_is_ended_without_a_word(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    first, said = world.engine.only(), len(world.server.reports)
    world.engine.add(replace(first, id="i9", name="second", created=first.created + 1))
    world.settle()
    assert world.engine.only() == first
    assert len(world.server.reports) == said


def test_poison_is_reported_once(world: AgentWorld) -> None:
    world.deploy()
    world.journal.deployments_table.save(replace(world.runner().record, attempts=MAX_ATTEMPTS))
    world.restart()
    world.beat()
    world.settle()
    assert [each.error_code for each in world.reports("d1")] == ["POISON_COMMAND"]
