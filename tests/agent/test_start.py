"""From the start to running, and what ends that: phases, stalls, hung models, restarts of the host."""

from __future__ import annotations

from dataclasses import replace

from agent.engines import EngineError, RunSpec
from agent.gpus import Gpu
from agent.growth import STALLED_AFTER
from agent.health import DEAD_AFTER
from chalicelib.contract.messages import Progress
from tests.fixtures.agent_world import GIB, AgentWorld


def phases(world: AgentWorld) -> list[Progress]:
    return [report.progress for _, report in world.server.reports if report.status == "starting" and report.progress]


def weights(world: AgentWorld, size: int) -> None:
    blobs = world.folder / "hub" / "models--org--model" / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    with (blobs / "weights.incomplete").open("wb") as file:
        file.truncate(size)


def test_the_phase_is_read_from_the_log_and_the_bytes_from_the_cache(world: AgentWorld) -> None:
    world.probe.ready = set()
    world.hub.bytes = 4 * GIB
    world.deploy()
    world.settle(3)
    instance = world.engine.only()
    world.engine.say(instance.id, "INFO Starting to load model org/model...")
    world.settle(3)
    for size in (GIB, 3 * GIB):
        weights(world, size)
        world.settle(3)
    weights(world, 4 * GIB)
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
        weights(world, minute + 1)
        world.settle(1, seconds=60)
    for minute in range(20):
        world.gpus[0] = Gpu(0, 80 * GIB, minute * GIB)
        world.settle(1, seconds=60)
    assert world.engine.only().id == first.id
    for _ in range(int(STALLED_AFTER / 60) + 2):
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


def test_a_port_that_somebody_took_first_is_not_taken_again(world: AgentWorld) -> None:
    """Another agent on this host, or a port that only the engine can see."""
    world.engine.taken_ports = {20000, 20001}
    world.deploy()
    world.settle()
    assert (world.statuses()[-1], world.last_report().port) == ("running", 20002)
    assert world.last_report().restarts == 0


def test_the_port_that_was_asked_for_is_no_other(world: AgentWorld) -> None:
    tried: list[int] = []

    def busy(spec: RunSpec) -> None:
        tried.append(spec.port)
        raise EngineError("PORT_IN_USE", "taken")

    world.engine.on_start = busy
    world.deploy(config={"port": 8123})
    world.settle(2)
    assert tried == [8123]
    assert (world.last_report().status, world.last_report().error_code) == ("starting", "PORT_IN_USE")
