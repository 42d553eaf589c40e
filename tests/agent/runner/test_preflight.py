"""What is in the way of a deployment, told all at once before anything is fetched or ended."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from muster.api.messages import Disk, Fix, Report
from muster_agent.backends.command import run_template
from muster_agent.backends.hub import Finding
from muster_agent.backends.policy import HostPolicy
from muster_agent.engines.base import EngineError, Instance, Offer
from muster_agent.gpus.cuda import Driver
from muster_agent.gpus.gpu_usage import Gpu, Holder
from muster_agent.host.facts import HostMemory
from muster_agent.runner.preflight import MIN_FREE_DISK_BYTES, HostProbe, Preflight, PreflightResult, StartRequest, size
from tests.fixtures.agent_world import DISK, GIB, AgentWorld, FakeHub
from tests.fixtures.commands import deploy
from tests.fixtures.hub_cache import downloading


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


def test_every_obstacle_is_told_at_once(world: AgentWorld) -> None:
    world.hub.obstacles = {"org/model": Finding("MODEL_GATED", "the license")}
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
    world.hub.obstacles = {"org/model": Finding("MODEL_GATED", "the license")}
    world.deploy()
    world.settle()
    assert world.statuses()[-1] == "running"


def test_an_obstacle_that_may_pass_is_tried_again(world: AgentWorld) -> None:
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


def test_weights_that_do_not_fit_the_disk_are_refused(world: AgentWorld) -> None:
    world.hub.bytes = 2000 * GIB
    report = refused(world)
    assert report.error_code == "DISK_FULL"
    assert "2000.0 GiB" in (report.message or "")


class Runway:
    """What preflight looks at, all of it as a start wants it until a test says otherwise."""

    def __init__(self, folder: Path) -> None:
        self.hub, self.folder = FakeHub(), folder
        self.gpus = [Gpu(index, 80 * GIB, 0) for index in range(2)]
        self.free: int | None = 1000 * GIB
        self.offer: Offer | None = None
        self.driver: Driver | None = Driver("550.54.15", "12.4")
        self.memory = HostMemory(120 * GIB, 110 * GIB)
        self.policy = HostPolicy(hub_cache=folder / "hub")

    def check(self, *found: Finding, own: tuple[Instance, ...] = (), **command: Any) -> PreflightResult:
        wanted = deploy(**command)
        template = run_template(wanted, self.policy, {}, True)
        host_probe = HostProbe(self.hub, lambda: self.gpus, self._disk, lambda: self.driver, lambda: self.memory)
        return Preflight(self.policy, host_probe).check(
            StartRequest(template, {}, own, own, Path("/"), self.offer), found
        )

    def refuse(self, *found: Finding, own: tuple[Instance, ...] = (), **command: Any) -> EngineError:
        with pytest.raises(EngineError) as raised:
            self.check(*found, own=own, **command)
        return raised.value

    def _disk(self, path: Path) -> Disk:
        if self.free is None:
            raise OSError
        return Disk(DISK.total, DISK.used, self.free, DISK.percent)


@pytest.fixture
def runway(tmp_path: Path) -> Runway:
    return Runway(tmp_path)


def test_a_start_that_nothing_is_in_the_way_of_knows_what_it_will_download(runway: Runway) -> None:
    runway.hub.bytes = 5 * GIB
    assert runway.check(gpus=[0, 1]) == PreflightResult("", 5 * GIB)


def test_a_warning_is_told_and_stops_nothing(runway: Runway) -> None:
    runway.hub.obstacles = {"org/model": Finding("HUB_UNREACHABLE", "down", warns_only=True)}
    assert runway.check() == PreflightResult("HUB_UNREACHABLE: down")


def test_one_obstacle_keeps_its_own_message_and_fix_and_several_are_listed(runway: Runway) -> None:
    full = Finding("PORT_IN_USE", "taken", fix=Fix(gpus=1))
    alone = runway.refuse(full)
    assert (alone.error_code, alone.message, alone.fix) == ("PORT_IN_USE", "taken", Fix(gpus=1))
    both = runway.refuse(full, gpus=[7])
    assert both.message.startswith("2 things are in the way. PORT_IN_USE: taken; GPU_UNAVAILABLE: GPU 7 is not on")
    assert "(it has: 0, 1)" in both.message


@pytest.mark.parametrize(
    ("config", "used", "fits"),
    [
        ({}, 8 * GIB, True),
        ({}, 9 * GIB, False),
        ({"gpu_memory_utilization": 0.5}, 40 * GIB, True),
        ({"gpu_memory_utilization": 0.5}, 41 * GIB, False),
        ({"extra_args": ["--gpu-memory-utilization", "0.5"]}, 40 * GIB, True),
        ({"gpu_memory_utilization": "most"}, 9 * GIB, False),
    ],
)
def test_a_gpu_has_as_much_free_as_the_model_will_want(
    runway: Runway, config: dict[str, Any], used: int, fits: bool
) -> None:
    runway.gpus = [Gpu(0, 80 * GIB, used)]
    if fits:
        assert runway.check(gpus=[0], config=config) == PreflightResult()
    else:
        assert runway.refuse(gpus=[0], config=config).error_code == "CUDA_OUT_OF_MEMORY"


@pytest.mark.parametrize(("used", "fix"), [(40, Fix({"gpu_memory_utilization": 0.5})), (79, None)])
def test_the_share_that_is_free_is_the_fix_where_a_model_may_fit_into_it(
    runway: Runway, used: int, fix: Fix | None
) -> None:
    runway.gpus = [Gpu(0, 80 * GIB, used * GIB)]
    assert runway.refuse(gpus=[0]).fix == fix


@pytest.mark.parametrize(("total", "used"), [(None, None), (80 * GIB, None), (None, 79 * GIB)])
def test_memory_that_nvml_does_not_tell_is_unknown_and_stops_nothing(
    runway: Runway, total: int | None, used: int | None
) -> None:
    runway.gpus = [Gpu(0, total, used)]
    caution = runway.check(gpus=[0]).caution
    assert caution.startswith("GPU_MEMORY_UNKNOWN: NVML does not report how much memory GPU 0 has free")


def test_a_gpu_with_the_hosts_memory_has_as_much_as_the_host_has_available(runway: Runway) -> None:
    runway.gpus = [Gpu(0, None, GIB, shared=True)]
    caution = runway.check(gpus=[0]).caution
    for word in ("the memory of GPU 0 is unknown", "110.0 GiB of 120.0 GiB is available", "90%"):
        assert word in caution
    runway.memory = HostMemory(120 * GIB, 60 * GIB)
    refused = runway.refuse(gpus=[0])
    assert (refused.error_code, refused.fix) == ("CUDA_OUT_OF_MEMORY", Fix({"gpu_memory_utilization": 0.5}))
    assert "60.0 GiB of 120.0 GiB is available" in refused.message
    assert "110.0 GiB" not in runway.check(gpus=[0], config={"gpu_memory_utilization": 0.5}).caution


def test_of_the_hosts_memory_that_of_the_instance_before_is_given_back(runway: Runway) -> None:
    own = Instance("i1", "n", "i", "running", "w1", "d1", 1, pid=7)
    runway.memory = HostMemory(120 * GIB, 20 * GIB)
    runway.gpus = [Gpu(0, None, 90 * GIB, (Holder(7, 90 * GIB), Holder(8, None)), shared=True)]
    assert "110.0 GiB of 120.0 GiB" in runway.check(own=(own,), gpus=[0]).caution
    assert runway.refuse(gpus=[0]).error_code == "CUDA_OUT_OF_MEMORY"


def test_a_holder_whose_memory_is_unknown_is_named_so(runway: Runway) -> None:
    runway.gpus = [Gpu(0, 80 * GIB, 60 * GIB, (Holder(7, None, "python"),))]
    assert "held by python (pid 7) (unknown)," in runway.refuse(gpus=[0]).message


def test_what_a_start_should_know_is_in_the_deployments_message(world: AgentWorld) -> None:
    world.gpus = [Gpu(0, None, None)]
    world.deploy(gpus=[0])
    world.settle()
    assert world.statuses()[-1] == "running"
    messages = [report.message or "" for _, report in world.server.reports]
    assert any(each.startswith("Starting. GPU_MEMORY_UNKNOWN: ") for each in messages)


def test_what_is_downloaded_already_needs_no_room(runway: Runway) -> None:
    runway.hub.bytes, runway.free = 100 * GIB, 60 * GIB
    refused = runway.refuse()
    assert refused.error_code == "DISK_FULL" and "the weights of org/model needs 100.0 GiB" in refused.message
    downloading(runway.folder / "hub", "org/model", 50 * GIB)
    assert runway.check() == PreflightResult("", 100 * GIB)


def test_a_disk_without_room_for_a_log_is_full_and_one_that_does_not_answer_is_not(runway: Runway) -> None:
    runway.free = MIN_FREE_DISK_BYTES - 1
    assert runway.refuse().message.startswith("/ has 64 MiB free, and a container needs 64 MiB")
    runway.free = None
    assert runway.check() == PreflightResult()


@pytest.mark.parametrize(
    ("count", "told"), [(0, "0 MiB"), (GIB - 1, "1024 MiB"), (GIB, "1.0 GiB"), (1.55 * GIB, "1.6 GiB")]
)
def test_sizes_are_told_in_mib_below_one_gib_and_in_gib_above(count: float, told: str) -> None:
    assert size(count) == told


# What the image's registry tells before it is pulled


def offer(platforms: tuple[str, ...] = ("linux/amd64",), fetch: int = GIB, **env: str) -> Offer:
    return Offer("vllm/vllm-openai:x", "linux/amd64", platforms, fetch, env)


def test_an_image_for_another_architecture_is_refused_before_it_is_pulled(world: AgentWorld) -> None:
    world.engine.offers["vllm/vllm-openai:arm"] = offer(("linux/arm64", "linux/riscv64"))
    world.engine.available.add("vllm/vllm-openai:arm")
    report = refused(world, image="vllm/vllm-openai:arm")
    assert (report.status, report.error_code) == ("error", "IMAGE_UNSUITABLE"), "permanent: it fails again each time"
    assert "is there for linux/arm64, linux/riscv64, and this host is linux/amd64" in (report.message or "")


def test_an_image_that_does_not_fit_the_disk_is_refused_and_one_that_may_not_is_a_warning(runway: Runway) -> None:
    runway.offer, runway.free = offer(fetch=10 * GIB), 9 * GIB
    error = runway.refuse()
    assert error.error_code == "DISK_FULL"
    assert "has 9.0 GiB free, and the image vllm/vllm-openai:x needs 10.0 GiB" in error.message
    runway.free = 20 * GIB
    assert "the image vllm/vllm-openai:x, unpacked, about needs 25.0 GiB" in runway.check().caution
    runway.free = 26 * GIB
    assert runway.check() == PreflightResult()


def test_an_image_that_wants_a_newer_driver_is_refused_where_gpus_are_asked_for(runway: Runway) -> None:
    runway.offer = offer(NVIDIA_REQUIRE_CUDA="cuda>=12.9")
    error = runway.refuse(gpus=[0])
    assert error.error_code == "DRIVER_TOO_OLD"
    assert "wants cuda>=12.9, and this host's driver 550.54.15 supports CUDA up to 12.4" in error.message
    assert runway.check() == PreflightResult(), "no GPU, no driver"
    assert runway.check(gpus=[0], env={"NVIDIA_DISABLE_REQUIRE": "1"}) == PreflightResult()
    runway.driver = None
    assert runway.check(gpus=[0]) == PreflightResult()
    runway.driver = Driver("580.82.07", "13.0")
    assert runway.check(gpus=[0]) == PreflightResult()


def test_an_image_that_is_here_is_not_asked_for(world: AgentWorld) -> None:
    world.engine.offers["vllm/vllm-openai:latest"] = offer(("linux/arm64",))
    world.engine.pull("vllm/vllm-openai:latest", lambda progress: None, Event())
    world.deploy(image="vllm/vllm-openai:latest")
    world.settle()
    assert world.last_report().error_code is None


# What the model's config.json tells

FP8 = b'{"quantization_config": {"quant_method": "fp8"}}'


def test_a_gpu_that_is_too_old_for_the_models_quantization_is_refused_with_both_numbers(runway: Runway) -> None:
    runway.gpus = [Gpu(0, 80 * GIB, 0, capability=(7, 0)), Gpu(1, 80 * GIB, 0, capability=(7, 5))]
    runway.hub.configs["org/model"] = FP8
    error = runway.refuse(gpus=[0])
    assert error.error_code == "INVALID_CONFIG"
    assert "org/model is quantized with fp8, which needs compute capability 7.5, and GPU 0 has 7.0" in error.message
    assert runway.check(gpus=[1]) == PreflightResult()
    assert runway.check() == PreflightResult()


def test_a_gpu_that_is_too_old_for_vllm_is_refused_whatever_the_model(runway: Runway) -> None:
    runway.gpus = [Gpu(0, 80 * GIB, 0, capability=(6, 1)), Gpu(1, 80 * GIB, 0)]
    assert "vLLM needs compute capability 7.0, and GPU 0 has 6.1" in runway.refuse(gpus=[0]).message
    assert runway.check(gpus=[1]) == PreflightResult(), "what is not known is no obstacle"


def test_the_config_of_weights_that_are_here_is_read_here(runway: Runway, tmp_path: Path) -> None:
    runway.gpus = [Gpu(0, 80 * GIB, 0, capability=(7, 0))]
    for number, config in enumerate((b"{}", FP8)):
        snapshot = tmp_path / "hub" / "models--org--model" / "snapshots" / str(number)
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").write_bytes(config)
        os.utime(snapshot / "config.json", (number, number))
    assert "quantized with fp8" in runway.refuse(gpus=[0]).message
    assert runway.hub.asked == []
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_bytes(FP8)
    runway.policy = HostPolicy(hub_cache=tmp_path / "hub", model_root=tmp_path)
    assert "quantized with fp8" in runway.refuse(gpus=[0], model=str(folder)).message
