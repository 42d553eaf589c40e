"""GPUs from end to end: NVML tells of them, placement claims them, Docker is asked for them, operators see them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.models.containers import Container

from tests.fixtures.docker_agent import IMAGE, DockerHost, containers, docker_host
from tests.fixtures.docker_daemon import OwnDaemon
from tests.fixtures.hub_server import HubServer
from tests.fixtures.nvml import GIB, FakeNvml, compile_nvml, gpu
from tests.fixtures.serve import Serve
from tests.fixtures.waiting import eventually

pytestmark = pytest.mark.docker


@pytest.fixture
def nvml(tmp_path: Path) -> FakeNvml:
    nvml = compile_nvml(tmp_path)
    nvml.says(gpu("GPU-aaaa"), gpu("GPU-bbbb"))
    return nvml


@pytest.fixture
def gpu_host(
    tmp_path: Path, serve: Serve, daemon: OwnDaemon, hub: HubServer, nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DockerHost]:
    if not shutil.which("nvidia-container-runtime-hook"):
        pytest.skip("the engine has no GPU runtime, nor the hook that stands for one")
    for name, value in nvml.environment.items():
        monkeypatch.setenv(name, value)
    with docker_host(tmp_path, serve, daemon, hub) as host:
        yield host


def test_gpus_from_nvml_to_docker_and_back_to_the_operator(
    gpu_host: DockerHost, daemon: OwnDaemon, nvml: FakeNvml
) -> None:
    told = gpu_host.call("GET", "")["gpu_info"]["devices"]
    assert [(each["index"], each["uuid"], each["driver_version"]) for each in told] == [
        (0, "GPU-aaaa", "580.95.05"),
        (1, "GPU-bbbb", "580.95.05"),
    ]
    first, second = gpu_host.deploy(gpus=[1]), gpu_host.deploy(gpus=1)
    for each in (first, second):
        gpu_host.operator.reach(each, "running")
    asked = {
        each.labels["muster.deployment"]: each.attrs["HostConfig"]["DeviceRequests"][0]["DeviceIDs"]
        for each in containers(daemon)
    }
    assert asked == {first: ["GPU-bbbb"], second: ["GPU-aaaa"]}

    holder = next(each for each in containers(daemon) if each.labels["muster.deployment"] == second)
    nvml.says(gpu("GPU-aaaa", 120, 85, 61, 455), gpu("GPU-bbbb"), f"process 0 {_pid(holder)} {119 * GIB}")
    listed = gpu_host.call("GET", "/containers")
    shown = listed["gpus"][0]
    (process,) = shown.pop("processes")
    assert shown == {"index": 0, "memory_used": 120 * GIB, "utilization": 85, "temperature": 61, "power": 455}
    assert (process["memory"], process["container"]) == (119 * GIB, holder.id)
    (image_id,) = {each["image_id"] for each in listed["containers"]}
    assert image_id in {each["id"] for each in gpu_host.call("GET", "/images?fresh=true")["images"]}
    usage = eventually(
        lambda: gpu_host.call("GET", "")["gpu_usage"], lambda seen: seen[0]["memory_used"] > 0, "it is seen"
    )
    assert usage[0] == {"index": 0, "memory_used": 120 * GIB, "utilization": 85}


def test_memory_that_somebody_else_holds_is_told_by_process_and_container(
    gpu_host: DockerHost, daemon: OwnDaemon, nvml: FakeNvml
) -> None:
    stranger = daemon.client.containers.run(IMAGE, ["--model", "stranger"], detach=True)
    nvml.says(gpu("GPU-aaaa", 130), gpu("GPU-bbbb", error=15), f"process 0 {_pid(stranger)} {130 * GIB}")
    deployment = gpu_host.deploy(gpus=[0])
    seen = eventually(
        lambda: gpu_host.operator.call("GET", f"/api/deployments/{deployment}"),
        lambda shown: shown["error_code"] == "CUDA_OUT_OF_MEMORY",
        "the holder is told",
    )
    # By its name where the last listing has it already.
    assert any(f"in container {each}" in seen["message"] for each in (stranger.name, str(stranger.id)[:12]))


def _pid(container: Container) -> int:
    container.reload()
    return int(container.attrs["State"]["Pid"])
