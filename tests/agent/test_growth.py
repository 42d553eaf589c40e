"""Whether a model on its way up still gets anywhere: phases, bytes, stalls."""

from __future__ import annotations

from agent.gpus import Gpu
from agent.growth import STALLED_AFTER
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
