"""What is in the way of a deployment, told all at once before anything is fetched or ended."""

from __future__ import annotations

from typing import Any

import pytest

from agent.engines import Instance
from agent.gpus import Gpu, Holder
from agent.hub import Finding
from chalicelib.contract.messages import Fix, Report
from tests.fixtures.agent_world import GIB, AgentWorld

# In a deployment's life


@pytest.mark.parametrize("uses_images", [True, False])
def test_a_login_counts_for_processes_alone(world: AgentWorld, uses_images: bool) -> None:
    (world.folder / "token").write_text("of-the-login\n")
    world.engine.uses_images = uses_images
    world.deploy()
    world.settle()
    assert [each.token for each in world.hub.asked] == [None if uses_images else "of-the-login"]


def refused(world: AgentWorld, **command: Any) -> Report:
    world.deploy(**command)
    world.settle(2)
    assert world.engine.calls == [], "nothing was pulled or started"
    return world.last_report()


def test_a_model_that_is_not_there_is_an_error_before_anything_is_pulled(world: AgentWorld) -> None:
    world.hub.obstacles = {"org/model": Finding("MODEL_NOT_FOUND", "no such model")}
    report = refused(world)
    assert (report.status, report.error_code, report.message) == ("error", "MODEL_NOT_FOUND", "no such model")


def test_everything_is_told_at_once(world: AgentWorld) -> None:
    world.hub.obstacles = {"org/model": Finding("MODEL_GATED", "the licence")}
    world.engine.add(Instance("c" * 64, "their-notebook", "jupyter", "running"))
    world.engine.add(Instance("s", "other", "i", "running", worker_id="w2", deployment_id="x", port=8123))
    world.gpus = [Gpu(0, 80 * GIB, 60 * GIB, (Holder(77, 60 * GIB, "python train.py", "c" * 64),))]
    world.free_disk = 1000
    report = refused(world, gpus=[0, 5], config={"port": 8123})
    message = report.message or ""
    assert (report.status, report.error_code) == ("error", "MODEL_GATED")
    for code in ("MODEL_GATED", "PORT_IN_USE", "CUDA_OUT_OF_MEMORY", "GPU_UNAVAILABLE", "DISK_FULL"):
        assert f"{code}: " in message
    assert message.startswith("5 things are in the way.")
    assert "held by python train.py (pid 77) in container their-notebook (60.0 GiB)," in message


def test_an_unreachable_hub_is_no_obstacle(world: AgentWorld) -> None:
    world.hub.obstacles = {"org/model": Finding("HUB_UNREACHABLE", "down", warns_only=True)}
    world.deploy()
    world.settle()
    assert world.statuses()[-1] == "running"


def test_cached_weights_need_no_hub(world: AgentWorld) -> None:
    snapshot = world.folder / "hub/models--org--model/snapshots/abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    world.hub.obstacles = {"org/model": Finding("MODEL_GATED", "the licence")}
    world.deploy()
    world.settle()
    assert world.statuses()[-1] == "running"


def test_what_passes_is_tried_again(world: AgentWorld) -> None:
    world.gpus = [Gpu(0, 80 * GIB, 70 * GIB)]
    report = refused(world, gpus=[0])
    assert (report.status, report.error_code) == ("starting", "CUDA_OUT_OF_MEMORY")
    assert "10.0 GiB of 80.0 GiB free" in (report.message or "")
    assert report.fix == Fix({"gpu_memory_utilization": 0.12})
    world.gpus = [Gpu(0, 80 * GIB, GIB)]
    world.settle(10)
    assert world.statuses()[-1] == "running"


def test_less_memory_will_do_where_less_is_asked_for(world: AgentWorld) -> None:
    world.gpus = [Gpu(0, 80 * GIB, 40 * GIB)]
    world.deploy(gpus=[0], config={"gpu_memory_utilization": 0.5})
    world.settle()
    assert world.statuses()[-1] == "running"


@pytest.mark.parametrize("told", [True, False])
def test_what_its_predecessor_holds_is_not_in_the_way(world: AgentWorld, told: bool) -> None:
    """Neither its memory, whether or not the driver tells whose it is, nor its port."""
    world.deploy(gpus=[0], config={"port": 8123})
    world.settle()
    before = world.engine.only()
    holders = (Holder(5, 72 * GIB, "vllm", before.id), Holder(6, GIB, "Xorg")) if told else ()
    world.gpus = [Gpu(0, 80 * GIB, 73 * GIB, holders)]
    world.deploy(generation=2, gpus=[0], config={"port": 8123})
    world.settle()
    assert (world.statuses()[-1], world.engine.only().generation) == ("running", 2)


def test_weights_that_do_not_fit_the_disk(world: AgentWorld) -> None:
    world.hub.bytes = 2000 * GIB
    report = refused(world)
    assert report.error_code == "DISK_FULL"
    assert "2000.0 GiB" in (report.message or "")
