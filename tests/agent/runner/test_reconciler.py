"""One generation of a deployment, from command to report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import Event

import pytest

from muster.api.conditions import ConditionType
from muster.api.messages import Fix, Progress, Pulled, Report
from muster.diagnostics.log import EXCERPT_BYTES
from muster_agent.backends.policy import TESTED_IMAGE
from muster_agent.engines.base import EngineError, Instance, RunSpec
from muster_agent.gpus.gpu_usage import Gpu
from muster_agent.runner.probes import HUNG_AFTER_SECONDS
from muster_agent.runner.reconciler import (
    MAX_ATTEMPTS,
    MAX_STEP_DELAY_SECONDS,
    PHASE_MESSAGES,
    READY_PROBE_EVERY_SECONDS,
    REBIND_AFTER_SECONDS,
    WAITING_PREFIX,
    WATCH_EVERY_SECONDS,
)
from muster_agent.runner.startup import STALLED_AFTER_SECONDS
from tests.fixtures import markdown
from tests.fixtures.agent_world import GIB, AgentWorld
from tests.fixtures.hub_cache import downloading
from tests.fixtures.journals import forbid_writing

LOST = Gpu(0, 80 * GIB, 0, uuid="GPU-a", position=0, lost="GPU is lost (NVML error 15)")
VPN, OTHER = "10.99.7.7", "10.99.7.8"
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
    world.runner().step(world.clock.monotonic())
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
    assert len(report.logs.encode()) <= EXCERPT_BYTES


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
    crashes = [each.error_code for _, each in world.server.reports if each.error_code]
    assert crashes == ["CONTAINER_FAILED"]


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


@pytest.mark.parametrize("intent", ["deploy", "stop"])
def test_something_newer_than_the_intent_is_left_alone(world: AgentWorld, intent: str) -> None:
    world.engine.add(Instance("n1", "muster-d1-g9", "i", "running", "w1", "d1", 9))
    getattr(world, intent)(generation=3)
    world.settle()
    assert world.statuses() == []
    assert world.engine.only().id == "n1"


def test_a_running_model_that_answers_no_more_is_restarted(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    hung = world.engine.only()
    world.engine.say(hung.id, "the last that it said")
    world.probe.hung = True
    world.settle(10)
    assert world.engine.only() == hung, "it may be busy"
    world.settle(int(HUNG_AFTER_SECONDS / 2))
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
        world.settle(int(HUNG_AFTER_SECONDS / 2 - 3))
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


def test_an_attempt_is_journaled_before_anything_is_done_and_taken_back_after_it(world: AgentWorld) -> None:
    counted: list[int] = []

    def attempts() -> int:
        record = world.journal.deployments_table.get("d1")
        return record.attempts if record else -1

    def note(spec: RunSpec) -> None:
        counted.append(attempts())

    world.engine.on_start = note
    world.deploy()
    world.journal.deployments_table.save(replace(world.runner().record, attempts=1))
    world.restart()
    world.settle()
    assert set(counted) == {2}, "an agent that dies of the start has tried once more than before"
    assert attempts() == 0


RESTARTED = dict(markdown.rows("docs/protocol.md", "error_code", "restarted"))
"""The codes of crash reports, each with whether its deployment is restarted, as the protocol promises it."""
NOT_OF_A_START = {"CONTEXT_TOO_LONG", "ADDRESS_MISSING", "STATE_UNAVAILABLE", "POISON_COMMAND"}


@pytest.mark.parametrize("code", [*sorted(RESTARTED.keys() - NOT_OF_A_START), "UNKNOWN"])
def test_a_start_that_would_fail_again_is_an_error_and_any_other_is_tried_again(world: AgentWorld, code: str) -> None:
    def fail(spec: RunSpec) -> None:
        raise EngineError(code, "it failed")

    world.engine.on_start = fail
    world.deploy()
    world.settle(30, seconds=10)
    status, restarts = world.last_report().status, world.last_report().restarts or 0
    assert world.last_report().error_code == code
    is_final = RESTARTED.get(code) == "no"
    assert (status, restarts > 1) == (("error", False) if is_final else ("starting", True))


@pytest.mark.parametrize("attempts", range(MAX_ATTEMPTS + 2))
def test_a_command_is_tried_until_the_agent_has_died_of_it_too_often(world: AgentWorld, attempts: int) -> None:
    world.deploy()
    world.journal.deployments_table.save(replace(world.runner().record, attempts=attempts))
    world.restart()
    world.runner().step(world.clock.monotonic())
    assert bool(world.engine.specs) is (attempts < MAX_ATTEMPTS)


# When the engine does not answer


def reports(world: AgentWorld, deployment_id: str) -> list[Report]:
    return [report for about, report in world.server.reports if about == deployment_id]


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


def test_an_engine_that_refuses_a_step_again_and_again_poisons_no_command(world: AgentWorld) -> None:
    refusals = [EngineError("CONTAINER_FAILED", "500 Server Error")] * (MAX_ATTEMPTS + 1)

    def refuse(spec: RunSpec) -> None:
        if refusals:
            raise refusals.pop()

    world.engine.on_start = refuse
    world.deploy()
    world.settle(40, seconds=60)
    assert (world.last_report().status, world.last_report().restarts) == ("running", MAX_ATTEMPTS + 1)
    assert "POISON_COMMAND" not in {report.error_code for _, report in world.server.reports}


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
    assert (report.status, report.error_code, report.restarts) == ("error", "IMAGE_UNSUITABLE", 0)
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


@pytest.mark.parametrize("image", ["vllm/vllm-openai:latest", "vllm/vllm-openai:other"], ids=["is there", "is pulled"])
def test_the_end_of_what_serves_is_announced_before_it_ends(world: AgentWorld, image: str) -> None:
    told: list[str] = []
    world.engine.available.add("vllm/vllm-openai:other")
    world.deploy(image="vllm/vllm-openai:latest")
    world.settle()
    stop = world.engine.stop

    def watched(instance_id: str, grace: float) -> None:
        world.deliver()
        told.append(world.last_report().status)
        stop(instance_id, grace)

    world.engine.stop = watched  # type: ignore[method-assign]
    world.deploy(generation=2, image=image)
    world.settle()
    assert told == ["starting"]
    assert served(world)[-2:] == [("starting", 0), ("running", None)]


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


def test_an_image_that_was_pulled_where_nothing_can_be_journaled_is_run(
    world: AgentWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world.deploy()
    forbid_writing(world.database)
    world.settle()
    assert (world.last_report().status, world.last_report().error_code) == ("running", None)
    assert f"image {TESTED_IMAGE} was pulled, and prune will not count it" in caplog.text
    assert "Traceback" not in caplog.text


# Where it listens


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


def test_an_address_that_goes_while_a_model_comes_up_does_not_stall_it(
    world: AgentWorld, boot: Callable[..., AgentWorld]
) -> None:
    world.probe.ready = set()
    boot(VPN, VPN).deploy()
    world.settle()
    before = world.engine.only()
    world.addresses = {"127.0.0.1"}
    world.settle(10, seconds=600)
    assert look(world) == READY_PROBE_EVERY_SECONDS
    world.addresses.add(VPN)
    world.probe.ready = {"org/model"}
    world.settle()
    assert world.engine.only() == before
    assert world.last_report().status == "running"


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


def test_after_a_change_of_address_what_runs_is_moved_with_a_word(
    world: AgentWorld, boot: Callable[..., AgentWorld]
) -> None:
    boot(VPN, VPN, OTHER).deploy()
    world.settle()
    boot(OTHER, VPN, OTHER)
    world.settle(1)
    assert world.last_report().address == "", "it is not reachable where the worker is now"
    world.settle(4, seconds=REBIND_AFTER_SECONDS)
    announced = next(r for _, r in world.server.reports if r.status == "starting" and VPN in (r.message or ""))
    assert OTHER in (announced.message or "")
    assert (world.engine.only().bind, world.last_report().address) == (OTHER, OTHER)
    assert (world.last_report().status, world.last_report().restarts) == ("running", 0)


def test_by_the_owners_wish_what_runs_is_left_where_it_listens(
    world: AgentWorld, boot: Callable[..., AgentWorld]
) -> None:
    boot(VPN, VPN, OTHER).deploy()
    world.settle()
    before, world.rebind = world.engine.only(), "leave"
    boot(OTHER, VPN, OTHER)
    world.settle(20, seconds=60)
    assert world.engine.only() == before
    assert (world.last_report().status, world.last_report().address) == ("running", "")
    assert VPN in (world.last_report().message or "")


def test_nothing_is_moved_to_an_address_that_is_missing(world: AgentWorld, boot: Callable[..., AgentWorld]) -> None:
    boot(VPN, VPN).deploy()
    world.settle()
    before = world.engine.only()
    boot(OTHER, VPN)
    world.settle(20, seconds=60)
    assert world.engine.only() == before
    assert world.last_report().address == ""


# What gets nowhere


def phases(world: AgentWorld) -> list[Progress]:
    return [report.progress for _, report in world.server.reports if report.status == "starting" and report.progress]


def test_the_phase_is_read_from_the_log_and_the_bytes_from_the_cache(world: AgentWorld) -> None:
    world.probe.ready = set()
    world.hub.bytes = 4 * GIB
    world.deploy()
    world.settle(3)
    instance = world.engine.only()
    world.engine.say(instance.id, "INFO Starting to load model org/model...")
    world.settle(3)
    for size in (GIB, 3 * GIB):
        downloading(world.folder / "hub", "org/model", size)
        world.settle(3)
    downloading(world.folder / "hub", "org/model", 4 * GIB)
    world.settle(6)
    world.engine.say(instance.id, "Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:01<00:01,  1.0s/it]")
    world.settle(3)
    world.engine.say(instance.id, "INFO Loading weights took 2.00 seconds")
    world.settle(4)
    assert phases(world) == [
        Progress("loading"),
        Progress("downloading_weights", GIB, 4 * GIB),
        Progress("downloading_weights", 3 * GIB, 4 * GIB),
        Progress("downloading_weights", 4 * GIB, 4 * GIB),
        Progress("loading"),
        Progress("loading", 1, 2),
        Progress("compiling"),
    ]
    assert world.last_report().message == "Compiling and warming up"
    world.probe.ready = {"org/model"}
    world.settle(2)
    assert (world.last_report().status, world.last_report().progress) == ("running", None)


def test_a_start_of_which_nothing_grows_is_stalled(world: AgentWorld) -> None:
    world.probe.ready = set()
    world.deploy(gpus=[0])
    world.settle(3)
    first = world.engine.only()
    for minute in range(20):
        world.engine.say(first.id, f"Loading weights: {minute}%")
        world.settle(1, seconds=60)
    for minute in range(20):
        downloading(world.folder / "hub", "org/model", minute + 1)
        world.settle(1, seconds=60)
    for minute in range(20):
        world.gpus[0] = Gpu(0, 80 * GIB, minute * GIB)
        world.settle(1, seconds=60)
    assert world.engine.only().id == first.id
    for _ in range(int(STALLED_AFTER_SECONDS / 60) + 2):
        world.engine.say(first.id, "INFO No available shared memory broadcast block found in 60 seconds.")
        world.engine.say(first.id, 'INFO: 172.17.0.1:4 - "GET /health HTTP/1.1" 503 Service Unavailable')
        world.settle(1, seconds=60)
        if world.last_report().error_code:
            break
    report = world.last_report()
    assert (report.status, report.error_code, report.restarts) == ("starting", "START_STALLED", 1)
    assert "Loading weights: 19%" in (report.logs or "")
    world.gpus[0] = Gpu(0, 80 * GIB, 0)
    world.settle(10)
    assert world.engine.only().id != first.id


def test_a_stalled_start_that_is_never_restarted_is_an_error(world: AgentWorld) -> None:
    world.probe.ready = set()
    world.deploy(restart="never")
    world.settle(3)
    world.settle(12, seconds=60)
    assert (world.last_report().status, world.last_report().error_code) == ("error", "START_STALLED")
    assert world.engine.all == {}


def test_the_end_that_an_operator_asked_for_is_no_crash(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    instance = world.engine.only()
    world.runner().expect_end(instance.id)
    world.engine.die(instance.id, 137)
    world.settle()
    assert (world.last_report().status, world.last_report().error_code) == ("stopped", None)
    assert world.last_report().restarts == 0


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


def test_a_model_that_died_with_its_gpu_crashed_once_and_waits(world: AgentWorld) -> None:
    world.gpus = [Gpu(0, 80 * GIB, GIB, uuid="GPU-a", position=0)]
    world.deploy(gpus=[0])
    world.settle()
    world.gpus = [LOST]
    world.engine.die(world.engine.only().id, 1, "CUDA error: unspecified launch failure")
    world.settle(40, 30.0)
    report = world.last_report()
    assert (report.status, report.restarts) == ("starting", 1)
    assert "Waits for its GPU" in (report.message or "")


def test_what_still_runs_is_left_alone_when_its_gpu_is_lost(world: AgentWorld) -> None:
    world.gpus = [Gpu(0, 80 * GIB, GIB, uuid="GPU-a", position=0)]
    world.deploy(gpus=[0])
    world.settle()
    world.gpus = [LOST]
    world.settle(10)
    assert world.statuses()[-1] == "running"
    assert world.engine.only().state == "running"


# What it is told of, and what it is asked

GONE = (None, None)


def look(world: AgentWorld, seconds: float = 0.0) -> float | None:
    """One step of d1 after so long: the seconds until its next one."""
    world.clock.pass_time(seconds)
    world.runtime.context.instance_cache.changed()
    delay = world.runner().step(world.clock.monotonic())
    world.deliver()
    return delay


def test_how_soon_it_looks_again_follows_from_what_it_waits_for(world: AgentWorld) -> None:
    world.probe.ready = set()
    world.deploy()
    assert [look(world), look(world, 1)] == [READY_PROBE_EVERY_SECONDS, READY_PROBE_EVERY_SECONDS], "it comes up"
    world.probe.ready = {"org/model"}
    assert [look(world, 1), look(world, 5)] == [WATCH_EVERY_SECONDS, WATCH_EVERY_SECONDS], "it runs"
    world.engine.die(world.engine.only().id, 1)
    assert [look(world, 5), look(world, 7)] == [MAX_STEP_DELAY_SECONDS, 3.0], "it waits for the next try"
    assert look(world, 3) == READY_PROBE_EVERY_SECONDS, "it was started again"
    world.stop()
    assert [look(world), look(world)] == [None, None], "it has ended"


def test_what_failed_is_looked_at_again_at_once_and_then_left_until_the_next_try(world: AgentWorld) -> None:
    world.free_disk = 0
    world.deploy()
    assert [look(world), look(world), look(world, 5)] == [0.0, MAX_STEP_DELAY_SECONDS, 5.0]
    assert world.last_report().restarts == 1, "while it waits, nothing is tried"
    assert look(world, 5) == 0.0
    assert world.last_report().restarts == 2


def test_an_instance_is_missed_once_it_was_there(world: AgentWorld) -> None:
    world.deploy()
    assert not world.runner().misses([])
    world.settle()
    assert world.runner().misses(["another"])
    assert not world.runner().misses([world.engine.only().id])


def test_after_a_restart_of_the_agent_a_deployment_says_again_how_it_is(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    before = world.last_report()
    world.restart()
    world.beat()
    look(world)
    assert world.last_report().status == before.status == "running"
    assert (world.last_report().sequence or 0) > (before.sequence or 0)


def test_an_instance_that_is_there_is_adopted_with_its_port(world: AgentWorld) -> None:
    world.probe.ready = set()
    found = world.engine.add(Instance("i1", "muster-d1-g1", "i", "running", "w1", "d1", 1, port=20123))
    world.deploy()
    look(world)
    assert (world.last_report().status, world.last_report().message) == ("starting", "Loading the model")
    world.probe.ready = {"org/model"}
    look(world, 5)
    report = world.last_report()
    assert (report.status, report.container_id, report.port) == ("running", found.id, found.port)
    assert world.engine.specs == []


def test_a_report_names_the_instance_while_it_is_there_and_none_after_its_end(world: AgentWorld) -> None:
    def named() -> tuple[str | None, int | None]:
        return world.last_report().container_id, world.last_report().port

    world.deploy()
    world.settle()
    assert named() == (world.engine.only().id, 20000)
    world.engine.die(world.engine.only().id, 1)
    look(world)
    assert (world.last_report().status, named()) == ("starting", GONE)
    world.settle(10)
    world.engine.die(world.engine.only().id, 137)
    world.run = "the host was restarted"
    look(world)
    assert (world.last_report().error_code, named()) == (None, GONE)
    world.settle(10)
    world.engine.die(world.engine.only().id, 2, "vllm: error: unrecognized arguments: --max-modle-len")
    look(world)
    assert (world.last_report().status, named()) == ("error", GONE)
    world.deploy(generation=2)
    world.settle()
    world.stop(generation=3)
    world.settle()
    assert (world.last_report().status, named()) == ("stopped", GONE)


def test_an_instance_that_dies_before_anybody_looked_at_it_has_crashed(world: AgentWorld) -> None:
    world.deploy()
    look(world)
    world.engine.die(world.engine.only().id, 1, CAUSE)
    look(world, 1)
    assert (world.last_report().error_code, world.last_report().restarts) == ("CUDA_OUT_OF_MEMORY", 1)


def test_a_crash_is_counted_once_however_soon_it_is_looked_at_again(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.engine.die(world.engine.only().id, 1, CAUSE)
    look(world, 5)
    for _ in range(2):
        world.runner().step(world.clock.monotonic())  # before anybody looked at the host anew
    world.deliver()
    assert (world.last_report().error_code, world.last_report().restarts) == ("CUDA_OUT_OF_MEMORY", 1)
    assert world.engine.all == {}


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


def test_a_newer_intent_that_comes_while_an_older_instance_ends_keeps_the_next_from_starting(world: AgentWorld) -> None:
    stop = world.engine.stop

    def slow(instance_id: str, grace: float) -> None:
        stop(instance_id, grace)
        world.stop(generation=3)

    world.deploy()
    world.settle()
    world.engine.stop = slow  # type: ignore[method-assign]
    world.deploy(generation=2)
    world.settle()
    assert [each.generation for each in world.engine.specs] == [1]
    assert world.statuses()[-1] == "stopped"


def test_a_pull_that_is_tried_again_is_reported_with_the_reason(world: AgentWorld) -> None:
    attempts: list[str] = []
    pull = world.engine.pull

    def again(reference: str, on_progress: Callable[[Progress], None], cancelled: Event) -> Pulled:
        world.deliver()
        attempts.append(reference)
        if len(attempts) == 1:
            raise EngineError("REGISTRY_UNREACHABLE", "no route to host")
        return pull(reference, on_progress, cancelled)

    world.engine.pull = again  # type: ignore[method-assign]
    world.deploy()
    world.settle()
    said = [each for _, each in world.server.reports if "REGISTRY_UNREACHABLE" in (each.message or "")]
    assert [(each.status, each.error_code) for each in said] == [("downloading", None)]
    assert (world.last_report().status, world.last_report().restarts) == ("running", 0)


def test_poison_is_reported_once(world: AgentWorld) -> None:
    world.deploy()
    world.journal.deployments_table.save(replace(world.runner().record, attempts=MAX_ATTEMPTS))
    world.restart()
    world.beat()
    world.settle()
    assert [each.error_code for each in reports(world, "d1")] == ["POISON_COMMAND"]


def test_a_message_is_no_longer_than_the_control_plane_takes(world: AgentWorld) -> None:
    def fail(spec: RunSpec) -> None:
        raise EngineError("CONTAINER_FAILED", "x" * 20_000)

    world.engine.on_start = fail
    world.deploy()
    world.settle()
    assert world.last_report().message == "x" * 16_000


@pytest.mark.parametrize(
    ("log", "error_code"),
    [(CAUSE, "CUDA_OUT_OF_MEMORY"), ("vllm: error: unrecognized arguments: --max-modle-len", "INVALID_CONFIG")],
)
def test_a_model_that_ran_and_hangs_is_restarted_whatever_its_log_says(
    world: AgentWorld, log: str, error_code: str
) -> None:
    world.deploy()
    world.settle()
    world.engine.say(world.engine.only().id, log)
    world.probe.hung = True
    world.settle(int(HUNG_AFTER_SECONDS / 2) + 6)
    report = world.last_report()
    assert (report.status, report.error_code, report.restarts) == ("starting", error_code, 1)


def test_what_the_agent_ended_itself_did_not_crash(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.probe.hung = True
    delays = [look(world, 10), look(world, 10), look(world, 10), look(world, 10)]
    world.runner().step(world.clock.monotonic())  # before anybody looked at the host anew
    world.deliver()
    assert delays == [WATCH_EVERY_SECONDS] * 4
    assert world.runner().record.container_id is None
    assert (world.last_report().error_code, world.last_report().restarts) == ("CONTAINER_FAILED", 1)


@pytest.mark.parametrize("words", PHASE_MESSAGES)
def test_each_phase_on_its_way_up_is_reported_once_and_in_words(world: AgentWorld, words: str) -> None:
    logs = {
        "loading": "INFO Starting to load model org/model...",
        "compiling": "INFO Loading weights took 2.00 seconds",
        "serving": "INFO Starting vLLM API server 0 on http://0.0.0.0:8000",
    }
    world.probe.ready = set()
    world.deploy()
    world.settle(3)
    if words in logs:
        world.engine.say(world.engine.only().id, logs[words])
    else:
        downloading(world.folder / "hub", "org/model", GIB)
    world.settle(10)
    said = [each for each in reports(world, "d1") if each.status == "starting" and each.progress]
    assert [(each.progress and each.progress.phase, each.message) for each in said] == [(words, PHASE_MESSAGES[words])]
    assert said[0].serving == 0, "its own instance serves nothing yet"


def test_an_instance_that_comes_up_says_so_again_after_it_waited_for_the_engine(world: AgentWorld) -> None:
    world.probe.ready = set()
    world.deploy()
    world.settle(3)
    world.engine.down = True
    world.settle(10)
    assert (world.last_report().message or "").startswith(WAITING_PREFIX)
    world.engine.down = False
    world.settle(3)
    assert world.last_report().message == "Loading the model"


def test_a_renamed_container_is_logged_once(world: AgentWorld, caplog: pytest.LogCaptureFixture) -> None:
    world.deploy()
    world.settle()
    assert "was renamed" not in caplog.text
    world.engine.add(replace(world.engine.only(), name="renamed"))
    world.settle()
    assert [each for each in caplog.messages if "was renamed to renamed" in each] == [
        "muster-d1-g1 was renamed to renamed: it is known by its labels, and stays"
    ]


@pytest.mark.parametrize("restart", ["on-failure", "never"])
def test_a_model_that_died_for_want_of_its_address_waits_for_it(
    world: AgentWorld, boot: Callable[..., AgentWorld], restart: str
) -> None:
    boot(VPN, VPN).deploy(restart=restart)
    world.settle()
    world.addresses = {"127.0.0.1"}
    world.engine.die(world.engine.only().id, 1, "OSError: [Errno 99] Cannot assign requested address")
    world.settle(20, seconds=5)
    assert (world.last_report().status, world.last_report().restarts) == ("starting", 1)
    assert (world.last_report().message or "").startswith(f"{WAITING_PREFIX} its address")
    assert look(world) == MAX_STEP_DELAY_SECONDS
    world.addresses.add(VPN)
    world.settle(10)
    assert world.last_report().status == "running"


def test_what_listens_elsewhere_is_moved_after_a_while_and_not_before(
    world: AgentWorld, boot: Callable[..., AgentWorld]
) -> None:
    boot(VPN, VPN, OTHER).deploy()
    world.settle()
    before = world.engine.only()
    boot(OTHER, VPN, OTHER)
    look(world)
    look(world, REBIND_AFTER_SECONDS - 1)
    assert world.engine.only() == before
    assert look(world, 1) == 0.0, "the next step starts it"
    assert (world.last_report().status, world.last_report().container_id) == ("starting", None)
    world.runner().step(world.clock.monotonic())  # before anybody looked at the host anew
    world.settle(1)
    assert (world.engine.only().bind, world.last_report().error_code) == (OTHER, None)


def test_a_name_that_leads_elsewhere_for_a_moment_moves_nothing(
    world: AgentWorld, boot: Callable[..., AgentWorld]
) -> None:
    world.names = {"gpu-1.lan": [VPN]}
    boot("gpu-1.lan", VPN, OTHER).deploy()
    world.settle()
    before = world.engine.only()
    for address in (OTHER, VPN, OTHER, VPN):
        world.names = {"gpu-1.lan": [address]}
        world.host.listening.refresh()
        look(world, REBIND_AFTER_SECONDS - 2)
        look(world, 1)
    assert world.engine.only() == before
    assert (world.last_report().address, world.last_report().message) == ("gpu-1.lan", "Model loaded successfully")


def test_a_model_whose_host_lost_its_address_runs_and_says_that_nobody_reaches_it(
    world: AgentWorld, boot: Callable[..., AgentWorld]
) -> None:
    boot(VPN, VPN).deploy()
    world.settle()
    before, said = world.engine.only(), len(world.server.reports)
    world.addresses = {"127.0.0.1"}
    world.settle(30, seconds=HUNG_AFTER_SECONDS)
    assert (world.last_report().status, world.last_report().address) == ("running", "")
    assert VPN in (world.last_report().message or "")
    world.addresses.add(VPN)
    world.settle()
    assert (world.engine.only(), world.last_report().address) == (before, VPN)
    assert world.last_report().message == "Model loaded successfully"
    assert len(world.server.reports) == said + 2, "each change is said once"


def test_a_name_that_does_not_resolve_once_changes_nothing_that_is_reported(
    world: AgentWorld, boot: Callable[..., AgentWorld]
) -> None:
    world.names = {"gpu-1.lan": [VPN]}
    boot("gpu-1.lan", VPN).deploy()
    world.settle()
    said = len(world.server.reports)
    world.names = {}
    world.host.listening.refresh()
    look(world, 1)
    assert len(world.server.reports) == said
    assert world.last_report().address == "gpu-1.lan"
