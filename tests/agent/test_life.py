"""One generation of a deployment, from command to report."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.engines import EngineError, Instance, RunSpec
from agent.health import DEAD_AFTER
from agent.life import MOST_ATTEMPTS, UNHEALABLE
from chalicelib.contract.messages import Fix, Report
from tests.fixtures.agent_world import GIB, AgentWorld

CAUSE = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."


def test_deploy_pulls_starts_and_runs(world: AgentWorld) -> None:
    world.deploy(config={"max_model_len": 4096})
    world.settle()
    assert world.statuses() == ["downloading", "starting", "running"]
    report, instance = world.last_report(), world.engine.only()
    assert (report.container_id, report.port, report.generation) == (instance.id, instance.port, 1)
    assert report.session == world.server.session
    assert "--max-model-len" in world.engine.specs[0].arguments


def test_running_means_that_the_model_is_listed(world: AgentWorld) -> None:
    world.probe.ready = set()
    world.deploy(env={"VLLM_API_KEY": "key"})
    world.settle()
    assert world.statuses()[-1] == "starting"
    world.probe.ready = {"org/model"}
    world.settle()
    assert world.statuses()[-1] == "running"
    assert set(world.probe.keys) == {"key"}


def test_progress_of_a_pull_is_reported(world: AgentWorld) -> None:
    world.deploy()
    world.actor().step(world.clock.monotonic())
    world.deliver()
    assert [report.progress is None for _, report in world.server.reports][:2] == [True, False]


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


def test_crash_report_says_what_to_do(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.engine.die(
        world.engine.only().id, 1, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    )
    world.settle(1)
    report = world.last_report()
    assert (report.status, report.error_code, report.restarts) == ("starting", "CUDA_OUT_OF_MEMORY", 1)
    assert "--gpu-memory-utilization" in (report.message or "")
    assert "Tried to allocate" in (report.logs or "")


def test_a_crash_report_has_the_fix_that_its_log_has_the_number_for(world: AgentWorld) -> None:
    world.deploy(config={"max_model_len": 200000})
    world.settle(2)
    longest = "User-specified max_model_len (200000) is greater than the derived max_model_len (n_positions=131072)"
    world.engine.die(world.engine.only().id, 1, f"  Value error, {longest}")
    world.settle(100, seconds=10)
    report = world.last_report()
    assert (report.status, report.error_code) == ("error", "CONTEXT_TOO_LONG")
    assert report.fix == Fix({"max_model_len": 131072})


def test_the_cause_of_a_crash_may_be_thousands_of_lines_above_its_end(world: AgentWorld) -> None:
    world.deploy(restart="never")
    world.settle()
    instance = world.engine.only()
    world.engine.say(instance.id, CAUSE)
    for number in range(4000):
        world.engine.say(instance.id, f"({number}) what others had to say about it, at some length and to no end")
    world.engine.die(instance.id, 1)
    world.settle(2)
    report = world.last_report()
    assert report.error_code == "CUDA_OUT_OF_MEMORY"
    assert report.logs is not None and CAUSE in report.logs and "(3999)" in report.logs
    assert len(report.logs.encode()) <= 70 * 1024


def test_what_cannot_heal_is_not_restarted(world: AgentWorld) -> None:
    world.deploy()
    world.settle(2)
    world.engine.die(world.engine.only().id, 2, "vllm: error: unrecognized arguments: --max-modle-len")
    world.settle(100, seconds=10)
    assert world.statuses()[-1] == "error"
    assert world.last_report().error_code == "INVALID_CONFIG"
    assert len(world.engine.specs) == 1
    assert world.engine.all == {}


def test_exit_code_0_that_nobody_asked_for_is_a_crash(world: AgentWorld) -> None:
    world.deploy(restart="never")
    world.settle()
    world.engine.die(world.engine.only().id, 0)
    world.settle()
    assert (world.statuses()[-1], world.last_report().error_code) == ("error", "CONTAINER_FAILED")


def test_container_removed_behind_our_back_is_a_crash(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.engine.all.clear()
    world.settle(10)
    assert world.statuses()[-3:] == ["running", "starting", "running"]
    assert world.last_report().restarts == 1


def test_failed_replacement_leaves_nothing_of_the_old(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.deploy(generation=2, image="vllm/vllm-openai:absent")
    world.settle()
    assert world.last_report().error_code == "IMAGE_NOT_FOUND"
    assert world.engine.all == {}


def test_what_a_failed_start_could_not_remove_is_removed_later(world: AgentWorld) -> None:
    def stuck(spec: RunSpec) -> None:
        owner = (spec.worker_id, spec.deployment_id, spec.generation)
        world.engine.add(Instance("stuck", spec.name, str(spec.image), "created", *owner))
        raise EngineError("CONTAINER_FAILED", "no such program")

    world.engine.on_start = stuck
    world.deploy(restart="never")
    world.settle()
    assert (world.last_report().status, world.last_report().error_code) == ("error", "CONTAINER_FAILED")
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


def test_something_newer_than_the_intent_is_left_alone(world: AgentWorld) -> None:
    world.engine.add(Instance("n1", "muster-d1-g9", "i", "running", "w1", "d1", 9))
    world.deploy(generation=3)
    world.settle()
    assert world.engine.only().id == "n1"


def test_a_running_model_that_answers_no_more_is_restarted(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    hung = world.engine.only()
    world.engine.say(hung.id, "the last that it said")
    world.probe.hung = True
    world.settle(10)
    assert world.engine.only() == hung, "it may be busy"
    world.settle(int(DEAD_AFTER / 2))
    report = world.last_report()
    assert (report.status, report.error_code, report.restarts) == ("starting", "CONTAINER_FAILED", 1)
    assert "/health" in (report.message or "")
    assert "the last that it said" in (report.logs or "")
    world.probe.hung = False
    world.settle(10)
    assert world.statuses()[-3:] == ["running", "starting", "running"]
    assert world.engine.only().id != hung.id


def test_a_model_that_was_busy_is_left_alone(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    before = world.engine.only()
    for _ in range(10):
        world.probe.hung = True
        world.settle(int(DEAD_AFTER / 2 - 3))
        world.probe.hung = False
        world.settle(8)
    assert world.engine.only() == before
    assert world.statuses()[-1] == "running"


def test_a_hung_model_that_is_never_restarted_is_an_error(world: AgentWorld) -> None:
    world.deploy(restart="never")
    world.settle()
    world.probe.hung = True
    world.settle(40)
    assert (world.last_report().status, world.last_report().error_code) == ("error", "CONTAINER_FAILED")
    assert world.engine.all == {}


def test_what_ended_with_its_daemon_has_not_crashed(world: AgentWorld) -> None:
    world.deploy(restart="never")
    world.settle()
    world.engine.die(world.engine.only().id, 137)
    world.run = "the daemon was restarted"
    world.settle()
    assert world.statuses()[-3:] == ["running", "starting", "running"]
    assert (world.last_report().restarts, world.last_report().error_code) == (0, None)
    world.engine.die(world.engine.only().id, 1)
    world.settle()
    assert world.statuses()[-1] == "error", "the next one is a crash again"


def test_a_renamed_container_is_still_the_one(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    before = world.engine.only()
    world.engine.add(replace(before, name="renamed"))
    world.kill()
    world.boot().beat()
    world.settle()
    assert world.engine.only().id == before.id
    world.stop()
    world.settle()
    assert world.engine.all == {}


def test_command_that_killed_the_agent_three_times_is_poison(world: AgentWorld) -> None:
    world.deploy()
    for _ in range(3):
        record = world.actor().record
        world.memory.records.save(type(record)(record.command, attempts=record.attempts + 1))
        world.restart()
    world.beat()
    world.settle()
    assert world.statuses() == ["error"]
    assert world.last_report().error_code == "POISON_COMMAND"
    assert world.engine.calls == []
    world.deploy(generation=2)
    world.settle()
    assert world.statuses()[-1] == "running"


def test_an_attempt_is_journaled_before_anything_is_done_and_taken_back_after_it(world: AgentWorld) -> None:
    counted: list[int] = []

    def attempts() -> int:
        record = world.memory.records.get("d1")
        return record.attempts if record else -1

    def note(spec: RunSpec) -> None:
        counted.append(attempts())

    world.engine.on_start = note
    world.deploy()
    world.memory.records.save(replace(world.actor().record, attempts=1))
    world.restart()
    world.settle()
    assert set(counted) == {2}, "an agent that dies of the start has tried once more than before"
    assert attempts() == 0


@pytest.mark.parametrize("code", [*sorted(UNHEALABLE), "GPU_UNAVAILABLE", "DISK_FULL", "HUB_UNREACHABLE", "ODD"])
def test_a_start_that_would_fail_again_is_an_error_and_any_other_is_tried_again(world: AgentWorld, code: str) -> None:
    def fail(spec: RunSpec) -> None:
        raise EngineError(code, "it failed")

    world.engine.on_start = fail
    world.deploy()
    world.settle(30, seconds=10)
    status, restarts = world.last_report().status, world.last_report().restarts or 0
    assert world.last_report().error_code == code
    assert (status, restarts > 1) == (("error", False) if code in UNHEALABLE else ("starting", True))


@pytest.mark.parametrize("attempts", range(MOST_ATTEMPTS + 2))
def test_a_command_is_tried_until_the_agent_has_died_of_it_too_often(world: AgentWorld, attempts: int) -> None:
    world.deploy()
    world.memory.records.save(replace(world.actor().record, attempts=attempts))
    world.restart()
    world.actor().step(world.clock.monotonic())
    assert bool(world.engine.specs) is (attempts < MOST_ATTEMPTS)


# When the engine does not answer


def reports(world: AgentWorld, deployment_id: str) -> list[Report]:
    return [report for about, report in world.server.reports if about == deployment_id]


AWAY = (EngineError("DOCKER_UNAVAILABLE", "down"), EngineError("CONTAINER_FAILED", "server error"))


@pytest.mark.parametrize("trouble", AWAY, ids=["down", "answers 500"])
@pytest.mark.parametrize("phase", ["pull", "start", "run"])
def test_an_engine_that_does_not_answer_is_no_crash_of_a_deployment(
    world: AgentWorld, trouble: EngineError, phase: str
) -> None:
    def fail(*_: object) -> None:
        world.engine.trouble = trouble
        world.engine.on_pull, world.engine.on_start = lambda: None, lambda spec: None
        raise trouble

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
    assert [(each.status, each.message) for each in reports(world, "waits")] == [("starting", waits)]
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


def test_a_daemon_that_comes_back_while_the_agent_runs_ended_its_containers_and_no_model_crashed(
    world: AgentWorld,
) -> None:
    world.deploy(restart="never")
    world.settle()
    world.kill()
    world.run = "boot:init:7:7777"
    world.boot()
    world.beat()
    world.settle()
    world.kill()
    world.engine.down, world.run = True, "boot:init"
    world.boot()
    world.settle()
    world.engine.down, world.run = False, "boot:init:8:8888"
    world.engine.die(world.engine.only().id, 137)
    world.beat()
    world.settle()
    assert (world.last_report().status, world.last_report().restarts) == ("running", 0)


def test_a_program_that_cannot_be_executed_is_not_started_again(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    line = "[FATAL tini (7)] exec vllm failed: No such file or directory"
    world.engine.die(world.engine.only().id, 127, line)
    world.settle()
    report = world.last_report()
    assert (report.status, report.error_code, report.restarts) == ("error", "INVALID_CONFIG", 0)
    assert line in (report.message or "")


def test_a_start_that_its_engine_calls_hopeless_is_not_tried_again(world: AgentWorld) -> None:
    def fail(spec: RunSpec) -> None:
        raise EngineError("CONTAINER_FAILED", "vllm: not found on this host", permanent=True)

    world.engine.on_start = fail
    world.deploy()
    world.settle()
    report = world.last_report()
    assert (report.status, report.error_code, report.restarts) == ("error", "CONTAINER_FAILED", 0)


# What serves while another generation is prepared


def served(world: AgentWorld, generation: int = 2) -> list[tuple[str, int | None]]:
    """Status and what still serves, of each report of a generation, without repeats."""
    said = [(each.status, each.serving) for _, each in world.server.reports if each.generation == generation]
    return [each for index, each in enumerate(said) if index == 0 or said[index - 1] != each]


def test_reports_name_the_instance_that_serves_until_it_is_ended(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.engine.available.add("vllm/vllm-openai:other")
    world.deploy(generation=2, image="vllm/vllm-openai:other")
    world.settle()
    assert served(world) == [("downloading", 1), ("starting", 0), ("running", None)]


def test_the_end_of_what_serves_is_announced_before_it_ends(world: AgentWorld) -> None:
    told: list[str] = []
    world.deploy()
    world.settle()
    stop = world.engine.stop

    def watched(instance_id: str, grace: float) -> None:
        world.deliver()
        told.append(world.last_report().status)
        stop(instance_id, grace)

    world.engine.stop = watched  # type: ignore[method-assign]
    world.deploy(generation=2)
    world.settle()
    assert told == ["starting"]
    assert served(world) == [("starting", 0), ("running", None)]


def test_what_serves_goes_on_while_a_change_waits_for_the_next_try(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    before, world.free_disk = world.engine.only(), 0
    world.deploy(generation=2)
    world.settle(20, seconds=5)
    assert world.engine.only() == before
    assert (world.last_report().error_code, world.last_report().serving) == ("DISK_FULL", 1)
    world.free_disk = 1000 * GIB
    world.settle(40, seconds=10)
    assert (world.engine.only().generation, world.last_report().status) == (2, "running")


def test_an_instance_that_dies_while_a_change_waits_serves_no_more(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.free_disk = 0
    world.deploy(generation=2)
    world.settle(2)
    world.engine.die(world.engine.only().id, 1)
    world.settle(30, seconds=10)
    assert world.last_report().serving == 0
