"""Which GPUs an instance is given, who holds their memory, and what of the host's environment comes to light."""

from __future__ import annotations

import pytest

from agent.engines import Instance
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


OURS = Instance("c" * 64, "muster-d1-g1", "i", "running", "w1", "d1", 1, pid=7)
BY_CONTAINER = Holder(100, 3 * GIB, "vllm", "c" * 64)
BY_PID = Holder(7, 2 * GIB, "vllm")
STRANGER = Holder(8, GIB, "python")


@pytest.mark.parametrize(
    ("holders", "others", "used"),
    [
        ((BY_CONTAINER, BY_PID, STRANGER), [STRANGER], 15 * GIB),
        ((STRANGER,), [STRANGER], 20 * GIB),
        ((BY_PID,), [], 18 * GIB),
        ((), [], 0),  # the driver does not tell: it may all be ours
    ],
)
def test_what_the_deployments_own_instances_hold_is_not_others(
    holders: tuple[Holder, ...], others: list[Holder], used: int
) -> None:
    gpu = Gpu(0, 80 * GIB, 20 * GIB, holders)
    assert gpu.others([OURS]) == others
    assert gpu.used_by_others([OURS]) == used
    assert gpu.used_by_others([]) == 20 * GIB


def test_a_holder_is_told_by_process_and_by_the_name_of_its_container_if_that_is_known() -> None:
    assert BY_CONTAINER.told([OURS]) == "vllm (pid 100) in container muster-d1-g1"
    assert BY_CONTAINER.told([]) == "vllm (pid 100) in container cccccccccccc"
    assert Holder(9, GIB).told([OURS]) == "a process (pid 9)"
