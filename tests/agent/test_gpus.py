"""Which GPUs an instance is given, who holds their memory, and what of the host's environment comes to light."""

from __future__ import annotations

from agent.gpus import Gpu, Holder
from tests.fixtures.agent_world import GIB, AgentWorld


def test_an_instance_gets_the_claimed_gpus_by_uuid(world: AgentWorld) -> None:
    world.gpus = [Gpu(index, 80 * GIB, GIB, uuid=f"GPU-{name}") for index, name in enumerate("abc")]
    world.deploy(gpus=[2, 0])
    world.settle()
    assert (world.engine.specs[-1].gpus, world.engine.specs[-1].devices) == ((2, 0), ("GPU-c", "GPU-a"))


def test_an_instance_gets_them_by_index_where_the_driver_tells_no_uuid(world: AgentWorld) -> None:
    world.deploy(gpus=[1])
    world.settle()
    assert world.engine.specs[-1].device_ids == ("1",)


def test_foreign_holders_are_named_by_process_and_container(world: AgentWorld) -> None:
    stranger = Holder(4711, 70 * GIB, "python", "c0ffee" * 10)
    world.gpus = [Gpu(0, 80 * GIB, 71 * GIB, (stranger,), "GPU-a")]
    world.deploy(gpus=[0])
    world.settle()
    report = world.last_report()
    assert report.error_code == "CUDA_OUT_OF_MEMORY"
    assert "python (pid 4711) in container c0ffeec0ffee" in (report.message or "")
