"""Which GPUs an instance is given, who holds their memory, and what of the host's environment comes to light."""

from __future__ import annotations

import pytest

from muster_agent.engines.base import Instance
from muster_agent.gpus.gpu_usage import Gpu, Holder
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
    assert BY_CONTAINER.describe([OURS]) == "vllm (pid 100) in container muster-d1-g1"
    assert BY_CONTAINER.describe([]) == "vllm (pid 100) in container cccccccccccc"
    assert Holder(9, GIB).describe([OURS]) == "a process (pid 9)"


def test_a_gpu_is_used_by_what_runs_on_it_and_was_given_it() -> None:
    first, second = Gpu(0, 80, 0, uuid="GPU-a", position=0), Gpu(1, 80, 0, position=1)
    there = [
        Instance("1", "muster-d1-g1", "i", "running", "w1", "d1", 1, gpus=("GPU-a",)),
        Instance("2", "muster-d2-g1", "i", "running", "another", "d2", 1, gpus=("GPU-a", "1")),
        Instance("3", "muster-d3-g1", "i", "exited", "w1", "d3", 1, gpus=("GPU-a",)),
        Instance("4", "somebody's", "i", "running", gpus=("GPU-a",)),
        Instance("5", "muster-d5-g1", "i", "running", "w1", "d5", 1),
    ]
    assert [each.id for each in first.users(there, "w1", "d1")] == ["2"]
    assert [each.id for each in first.users(there, "w2", "d1")] == ["1", "2"], (
        "what another worker started is not its own"
    )
    assert [each.id for each in first.users(there, "w1", "d9")] == ["1", "2"]
    assert [each.id for each in second.users(there, "w1", "d9")] == ["2"]


def test_a_gpu_that_this_host_never_had_is_no_lost_one(world: AgentWorld) -> None:
    world.deploy(gpus=[5])
    world.settle()
    assert world.last_report().error_code == "GPU_UNAVAILABLE"


def orphan(worker_id: str = "w1", gpus: tuple[str, ...] | None = ("0",)) -> Instance:
    return Instance("old", "muster-old-g1", "i", "running", worker_id, "old", 1, port=8000, gpus=gpus)


@pytest.mark.parametrize("worker_id", ["w1", "the-worker-that-this-host-was-before"])
def test_a_model_does_not_start_on_a_gpu_in_which_another_of_musters_runs(world: AgentWorld, worker_id: str) -> None:
    world.engine.add(orphan(worker_id))
    world.deploy(gpus=[0])
    world.settle(20)
    report = world.last_report()
    assert (report.status, report.error_code, report.restarts) == ("starting", None, 0)
    assert "GPU 0 is in use by muster-old-g1 (deployment old)" in (report.message or "")
    assert world.engine.specs == []
    world.engine.die("old", 0)
    world.settle(10)
    assert world.statuses()[-1] == "running"


def test_it_does_not_start_either_where_the_other_came_while_its_image_was_pulled(world: AgentWorld) -> None:
    def comes() -> None:
        world.engine.add(orphan())

    world.engine.on_pull = comes
    world.deploy(gpus=[0])
    world.settle(10)
    assert world.engine.specs == []
    assert "GPU 0 is in use by muster-old-g1" in (world.last_report().message or "")


def test_another_gpu_is_nobodys_concern(world: AgentWorld) -> None:
    world.engine.add(orphan())
    world.deploy(gpus=[1])
    world.settle()
    assert world.statuses()[-1] == "running"


def test_an_instance_counts_gpus_as_cuda_does_at_that_moment(world: AgentWorld) -> None:
    world.gpus = [
        Gpu(0, 80 * GIB, 0, uuid="GPU-a", lost="NVML no longer lists it"),
        Gpu(1, 80 * GIB, GIB, uuid="GPU-b", position=0),
    ]
    world.deploy(gpus=[1])
    world.settle()
    spec = world.engine.specs[-1]
    assert (spec.gpus, spec.devices, spec.positions) == ((1,), ("GPU-b",), (0,))
