"""What a failure becomes: another start after a wait, or the end, and the report of either."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from muster.api.messages import Fix
from muster.diagnostics.log import EXCERPT_BYTES
from muster_agent.engines.base import EngineError, RunSpec
from muster_agent.gpus.gpu_usage import Gpu
from muster_agent.runner.deployment_state import WAITING_PREFIX
from muster_agent.runner.instance_monitor import (
    WATCH_EVERY_SECONDS,
)
from muster_agent.runner.reconciler import MAX_STEP_DELAY_SECONDS
from tests.fixtures import markdown
from tests.fixtures.agent_world import GIB, AgentWorld

LOST = Gpu(0, 80 * GIB, 0, uuid="GPU-a", position=0, lost="GPU is lost (NVML error 15)")

VPN, OTHER = "10.99.7.7", "10.99.7.8"

CAUSE = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."


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


def test_the_end_that_an_operator_asked_for_is_no_crash(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    instance = world.engine.only()
    world.runner().expect_end(instance.id)
    world.engine.die(instance.id, 137)
    world.settle()
    assert (world.last_report().status, world.last_report().error_code) == ("stopped", None)
    assert world.last_report().restarts == 0


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


def test_an_instance_that_dies_before_anybody_looked_at_it_has_crashed(world: AgentWorld) -> None:
    world.deploy()
    world.step()
    world.engine.die(world.engine.only().id, 1, CAUSE)
    world.step(1)
    assert (world.last_report().error_code, world.last_report().restarts) == ("CUDA_OUT_OF_MEMORY", 1)


def test_a_crash_is_counted_once_however_soon_it_is_looked_at_again(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.engine.die(world.engine.only().id, 1, CAUSE)
    world.step(5)
    for _ in range(2):
        world.runner().step(world.clock.monotonic())  # before anybody looked at the host anew
    world.deliver()
    assert (world.last_report().error_code, world.last_report().restarts) == ("CUDA_OUT_OF_MEMORY", 1)
    assert world.engine.all == {}


def test_what_the_agent_ended_itself_did_not_crash(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.probe.hung = True
    delays = [world.step(10), world.step(10), world.step(10), world.step(10)]
    world.runner().step(world.clock.monotonic())  # before anybody looked at the host anew
    world.deliver()
    assert delays == [WATCH_EVERY_SECONDS] * 4
    assert world.runner().record.container_id is None
    assert (world.last_report().error_code, world.last_report().restarts) == ("CONTAINER_FAILED", 1)


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
    assert world.step() == MAX_STEP_DELAY_SECONDS
    world.addresses.add(VPN)
    world.settle(10)
    assert world.last_report().status == "running"
