"""GPUs that come, are lost, and go while an agent runs, as an operator sees them: real processes, and no restart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.agent_process import Operator, ProcessHost
from tests.fixtures.nvml import GIB, FakeNvml, compile_nvml, fails, gpu, part, says_bytes
from tests.fixtures.serve import Serve
from tests.fixtures.waiting import eventually

A, B = "GPU-aaaa", "GPU-bbbb"
QUESTIONS = ("name", "uuid", "memory", "utilization", "temperature", "power", "processes", "mig", "version", "cuda")


@pytest.fixture
def nvml(tmp_path: Path) -> FakeNvml:
    folder = tmp_path / "nvml"
    folder.mkdir()
    return compile_nvml(folder)


@pytest.fixture
def host(tmp_path: Path, serve: Serve, nvml: FakeNvml) -> Iterator[ProcessHost]:
    made = ProcessHost(tmp_path, serve.url, tmp_path.name)
    made.environment |= nvml.environment
    made.start()
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def operator(serve: Serve) -> Operator:
    return Operator(serve.url)


def worker(operator: Operator, host: ProcessHost) -> Any:
    found = operator.call("GET", "/api/workers")["workers"]
    return next((each for each in found if each["name"] == host.name), None)


def has(operator: Operator, host: ProcessHost, *devices: tuple[int, str, bool]) -> Any:
    """Wait until the worker has these GPUs: index, UUID, whether it is lost."""

    def listed(seen: Any) -> bool:
        there = seen["gpu_info"]["devices"] if seen else []
        return [(each["index"], each["uuid"], each.get("lost", False)) for each in there] == list(devices)

    return eventually(lambda: worker(operator, host), listed, f"GPUs {devices}")


def visible(host: ProcessHost) -> list[str]:
    """CUDA_VISIBLE_DEVICES of the models that run."""
    environments = [Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") for pid in host.models()]
    name = b"CUDA_VISIBLE_DEVICES="
    return sorted(line.removeprefix(name).decode() for each in environments for line in each if line.startswith(name))


def test_gpus_follow_the_host_and_models_stay_where_they_were_placed(
    host: ProcessHost, operator: Operator, nvml: FakeNvml
) -> None:
    nvml.says("driver 9")
    eventually(lambda: worker(operator, host), lambda seen: seen and seen["status"] == "online", "it joins")
    here = {"worker_id": worker(operator, host)["worker_id"], "restart": "on-failure"}
    first, second = operator.deploy(gpus=[0], **here), operator.deploy(gpus=[1], **here)

    nvml.says(gpu(A), gpu(B))  # the driver is loaded
    has(operator, host, (0, A, False), (1, B, False))
    for each in (first, second):
        operator.reach(each, "running")
    assert visible(host) == ["0", "1"]

    nvml.says(gpu(A, error=15), gpu(B))  # Xid 79
    seen = has(operator, host, (0, A, True), (1, B, False))
    assert seen["gpu_claims"] == {"0": first, "1": second}
    waiting = operator.deploy(gpus=[0], **here)
    assert f"GPU 0 of {host.name} is lost" in operator.see(waiting)["message"]
    operator.call("DELETE", f"/api/deployments/{_stopped(operator, waiting)}")

    def conditions() -> str:
        return json.dumps(worker(operator, host)["conditions"])

    eventually(conditions, lambda text: "GpuLost" in text and A in text, "the condition")

    nvml.says(gpu(B))  # the host was rebooted without it: NVML calls the other one 0
    has(operator, host, (1, B, False))
    operator.call("POST", f"/api/deployments/{second}/restart", {})
    operator.reach(second, "running")
    assert operator.see(second)["gpu_indexes"] == [1]
    assert visible(host) == ["0", "0"], "CUDA counts what is there"

    operator.call("POST", f"/api/deployments/{first}/restart", {})
    told = eventually(
        lambda: operator.see(first)["message"] or "", lambda text: "Waits for its GPU" in text, "what it waits for"
    )
    assert A in told and operator.see(first)["restarts"] == 0
    nvml.says(gpu(A), gpu(B))
    has(operator, host, (0, A, False), (1, B, False))
    operator.reach(first, "running")
    assert visible(host) == ["0", "0"], "the second was started when CUDA saw no other"


def _stopped(operator: Operator, deployment: str) -> str:
    operator.call("POST", f"/api/deployments/{deployment}/stop", {})
    operator.reach(deployment, "stopped")
    return deployment


def test_mig_devices_and_unknown_figures_reach_the_operator_and_models_run_there(
    host: ProcessHost, operator: Operator, nvml: FakeNvml
) -> None:
    garbage = says_bytes("name", b"\xf8\x95\xa0\x81")
    nvml.says(gpu(A), garbage, gpu(B), fails("memory", 3, 0), part(1, 0, "MIG-x", 18, used=2), part(1, 4, "MIG-y", 35))
    seen = has(operator, host, (0, A, False), (1, "MIG-x", False), (2, "MIG-y", False))
    nameless, x, y = seen["gpu_info"]["devices"]
    assert ("name" in nameless, "memory_total" in nameless) == (False, False)
    assert [(each["name"], each["memory_total"]) for each in (x, y)] == [
        ("NVIDIA H200 MIG 1g.18gb", 18 * GIB),
        ("NVIDIA H200 MIG 1g.18gb", 35 * GIB),
    ]
    usage = [
        {"index": 0, "memory_used": 0, "utilization": 0},
        {"index": 1, "memory_used": 2 * GIB},
        {"index": 2, "memory_used": 0},
    ]
    eventually(
        lambda: worker(operator, host)["gpu_usage"], lambda found: found == usage, "what its first heartbeat says"
    )

    here = {"worker_id": seen["worker_id"], "config": {"gpu_memory_utilization": 0.1}}
    both = operator.deploy(gpus=[1, 2], **here)
    assert f"GPU 1, 2 of {host.name} are MIG devices" in operator.see(both)["message"]
    operator.call("DELETE", f"/api/deployments/{_stopped(operator, both)}")
    model = operator.deploy(gpus=[2], **here)
    assert operator.reach(model, "running")["gpu_indexes"] == [2]
    assert visible(host) == ["MIG-y"]
    assert worker(operator, host)["gpu_claims"] == {"2": model}

    nvml.says(gpu(B), part(0, 4, "MIG-y", 35), part(0, 0, "MIG-x", 18, used=2))  # another order, and without the first
    has(operator, host, (1, "MIG-x", False), (2, "MIG-y", False))
    nvml.says(gpu(B, error=15))
    has(operator, host, (1, "MIG-x", True), (2, "MIG-y", True))


@pytest.mark.parametrize(
    "lines",
    [
        ["driver 18", gpu(A)],
        ["driver 4", gpu(A)],
        ["driver 999"],
        [fails("count", 999), gpu(A)],
        [gpu(A), *(fails(question, 3) for question in QUESTIONS)],
        [gpu(A), *(fails(question, 999) for question in QUESTIONS)],
        [gpu(A), *(fails(question, 15) for question in QUESTIONS)],
        [gpu(A), *(says_bytes(question, b"\xff\xfe\x80") for question in ("name", "uuid", "version"))],
        [f"gpu {A} {2**64 - 1} {2**63} 4294967295 4294967295 4294967295 0", f"process 0 4294967295 {2**64 - 2}"],
    ],
)
def test_a_host_joins_and_stays_whatever_its_driver_answers(
    host: ProcessHost, operator: Operator, nvml: FakeNvml, lines: list[str]
) -> None:
    nvml.says(*lines)
    eventually(lambda: worker(operator, host), lambda seen: seen and seen["status"] == "online", "it joins")
    model = operator.deploy(gpus=0, worker_id=worker(operator, host)["worker_id"])
    operator.reach(model, "running")
    closer = operator.call("GET", f"/api/workers/{worker(operator, host)['worker_id']}/containers")
    assert [each["deployment_id"] for each in closer["containers"]] == [model]
    assert host.process.poll() is None and "Traceback" not in (host.folder / "agent.log").read_text()
