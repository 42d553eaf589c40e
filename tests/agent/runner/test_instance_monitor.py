"""The instance that a deployment wants: on its way up, while it runs, and where it listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from muster.api.messages import Progress
from muster_agent.engines.base import Instance
from muster_agent.gpus.gpu_usage import Gpu
from muster_agent.runner.deployment_state import WAITING_PREFIX
from muster_agent.runner.instance_monitor import (
    PHASE_MESSAGES,
    READY_PROBE_EVERY_SECONDS,
    REBIND_AFTER_SECONDS,
)
from muster_agent.runner.probes import HUNG_AFTER_SECONDS
from muster_agent.runner.startup import STALLED_AFTER_SECONDS
from tests.fixtures.agent_world import GIB, AgentWorld
from tests.fixtures.hub_cache import downloading

VPN, OTHER = "10.99.7.7", "10.99.7.8"

CAUSE = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."


def test_running_means_that_the_model_is_listed(world: AgentWorld) -> None:
    world.probe.ready = set()
    world.deploy(env={"VLLM_API_KEY": "key"})
    world.settle()
    assert world.statuses()[-1] == "starting"
    world.probe.ready = {"org/model"}
    world.settle()
    assert world.statuses()[-1] == "running"
    assert set(world.probe.keys) == {"key"}


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


def test_an_address_that_goes_while_a_model_comes_up_does_not_stall_it(
    world: AgentWorld, boot: Callable[..., AgentWorld]
) -> None:
    world.probe.ready = set()
    boot(VPN, VPN).deploy()
    world.settle()
    before = world.engine.only()
    world.addresses = {"127.0.0.1"}
    world.settle(10, seconds=600)
    assert world.step() == READY_PROBE_EVERY_SECONDS
    world.addresses.add(VPN)
    world.probe.ready = {"org/model"}
    world.settle()
    assert world.engine.only() == before
    assert world.last_report().status == "running"


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


def test_an_instance_that_is_there_is_adopted_with_its_port(world: AgentWorld) -> None:
    world.probe.ready = set()
    found = world.engine.add(Instance("i1", "muster-d1-g1", "i", "running", "w1", "d1", 1, port=20123))
    world.deploy()
    world.step()
    assert (world.last_report().status, world.last_report().message) == ("starting", "Loading the model")
    world.probe.ready = {"org/model"}
    world.step(5)
    report = world.last_report()
    assert (report.status, report.container_id, report.port) == ("running", found.id, found.port)
    assert world.engine.specs == []


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
    said = [each for each in world.reports("d1") if each.status == "starting" and each.progress]
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


def test_what_listens_elsewhere_is_moved_after_a_while_and_not_before(
    world: AgentWorld, boot: Callable[..., AgentWorld]
) -> None:
    boot(VPN, VPN, OTHER).deploy()
    world.settle()
    before = world.engine.only()
    boot(OTHER, VPN, OTHER)
    world.step()
    world.step(REBIND_AFTER_SECONDS - 1)
    assert world.engine.only() == before
    assert world.step(1) == 0.0, "the next step starts it"
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
        world.step(REBIND_AFTER_SECONDS - 2)
        world.step(1)
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
    world.step(1)
    assert len(world.server.reports) == said
    assert world.last_report().address == "gpu-1.lan"
