"""What Prometheus is told, read back with its own client library; and what telling it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import pytest

from chalicelib.deployments import intents
from chalicelib.telemetry import exposition, metrics
from chalicelib.telemetry.fleet_reader import FleetReader
from chalicelib.workers import admin
from muster.api import resources as r
from muster.api.errors import ApiError
from muster.api.version import VERSION
from tests.fixtures.plane_world import ADMIN, PlaneWorld
from tests.fixtures.prometheus import Samples, samples_of


def told(world: PlaneWorld) -> Samples:
    return samples_of(exposition.text(metrics.families(world.now)))


def value(samples: Samples, name: str, /, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


def test_a_figure_that_is_unknown_is_no_sample(world: PlaneWorld) -> None:
    devices = [{"index": 0, "name": "GB10"}, {"index": 1, "memory_total": 0}, {"index": 2, "memory_total": None}]
    worker = world.worker("gpu-1", gpu_info={"count": 3, "devices": devices})
    worker.beat(gpu_usage=[{"index": 0}, {"index": 1, "memory_used": None, "utilization": None}, {"index": 2}])
    samples = told(world)
    figures = ("memory_total_bytes", "memory_used_bytes", "utilization_ratio")
    for name in (f"muster_gpu_{figure}" for figure in figures):
        assert [value(samples, name, worker="gpu-1", gpu=gpu) for gpu in "012"] == [None] * 3
    worker.beat(gpu_usage=[{"index": 0, "memory_used": 0, "utilization": 0}])
    samples = told(world)
    assert [value(samples, f"muster_gpu_{each}", worker="gpu-1", gpu="0") for each in figures] == [None, 0, 0]


def test_a_workers_figures_are_those_of_its_last_heartbeat_while_it_is_online(world: PlaneWorld) -> None:
    devices = [{"index": index, "name": "A100", "memory_total": 80, "lost": index == 0} for index in (0, 1)]
    worker = world.worker("gpu-1", gpu_info={"count": 2, "devices": devices})
    world.worker("away")
    deployment_id = world.deploy(name="chat", worker_id=worker.id, gpus=[1])
    worker.run(deployment_id)
    world.pass_(80)
    usage = [{"index": 1, "memory_used": 40, "utilization": 85}]
    worker.beat(gpu_usage=usage, disk={"total": 100, "used": 60, "free": 35, "percent": 60.0})
    world.pass_(20)
    samples = told(world)
    assert [value(samples, "muster_workers", status=s) for s in ("online", "draining", "offline")] == [1, 0, 1]
    assert value(samples, "muster_worker_online", worker="away") == 0
    assert value(samples, "muster_worker_heartbeat_age_seconds", worker="gpu-1") == 20
    assert value(samples, "muster_worker_heartbeat_age_seconds", worker="away") == 100
    assert value(samples, "muster_worker_gpus", worker="gpu-1") == 2
    assert value(samples, "muster_worker_gpus_claimed", worker="gpu-1") == 1
    assert [value(samples, "muster_gpu_claimed", worker="gpu-1", gpu=g) for g in "01"] == [0, 1]
    assert [value(samples, "muster_gpu_lost", worker="gpu-1", gpu=g) for g in "01"] == [1, 0]
    assert value(samples, "muster_gpu_info", worker="gpu-1", gpu="0", name="A100") == 1
    assert value(samples, "muster_gpu_memory_total_bytes", worker="gpu-1", gpu="1") == 80
    assert value(samples, "muster_gpu_memory_used_bytes", worker="gpu-1", gpu="1") == 40
    assert value(samples, "muster_gpu_utilization_ratio", worker="gpu-1", gpu="1") == 0.85
    assert value(samples, "muster_worker_disk_free_bytes", worker="gpu-1") == 35
    assert value(samples, "muster_build_info", version=VERSION) == 1
    world.pass_(100)
    assert value(told(world), "muster_gpu_utilization_ratio", worker="gpu-1", gpu="1") is None, "a memory by now"
    admin.patch(worker.id, r.WorkerPatch(draining=True), ADMIN, world.now)
    worker.beat()
    assert value(told(world), "muster_workers", status="draining") == 1


def test_an_online_worker_has_a_sample_for_each_type_of_its_conditions(world: PlaneWorld) -> None:
    worker = world.worker("gpu-1")
    assert value(told(world), "muster_worker_condition", worker="gpu-1", type="GpuLost") is None
    reported = [{"type": type_, "message": "x"} for type_ in ("GpuLost", "New1", "New2", "EngineUnavailable")]
    worker.beat(conditions=reported)
    expected = ["EngineUnavailable", "GpuLost", "Other"]
    name = "muster_worker_condition"
    assert sorted(dict(labels)["type"] for each, labels in told(world) if each == name) == expected
    assert {value(told(world), name, worker="gpu-1", type=type_) for type_ in expected} == {1}
    worker.beat(conditions=reported[:1])
    assert value(told(world), name, worker="gpu-1", type="EngineUnavailable") is None
    world.pass_(100)
    assert value(told(world), name, worker="gpu-1", type="GpuLost") is None, "a memory by now"


def test_a_deployment_is_counted_by_what_is_wanted_of_it_and_by_its_status(world: PlaneWorld) -> None:
    worker = world.worker("gpu-1")
    chat, waiting = world.deploy("org/m", name="chat", gpus=1), world.deploy(name="waiting", gpus=8)
    worker.run(chat)
    worker.report(chat, "starting", restarts=3, error_code="X")
    samples = told(world)
    assert value(samples, "muster_deployments", desired="running", status="starting") == 1
    assert value(samples, "muster_deployments", desired="running", status="pending") == 1
    assert value(samples, "muster_deployments", desired="stopped", status="error") == 0
    labels = {"deployment": "chat", "deployment_id": chat, "model": "org/m", "worker": "gpu-1"}
    assert value(samples, "muster_deployment_info", **labels) == 1
    assert value(samples, "muster_deployment_restarts_total", deployment="chat") == 3
    assert value(samples, "muster_deployment_status", deployment="waiting", status="pending") == 1
    assert value(samples, "muster_deployment_desired_running", deployment="waiting") == 1
    intents.stop(waiting, ADMIN, world.now)
    assert value(told(world), "muster_deployment_desired_running", deployment="waiting") == 0
    world.pass_(100)
    assert value(told(world), "muster_deployment_reachable", deployment="chat") == 0


def test_a_crash_loop_is_told_with_its_cause_and_its_next_start(world: PlaneWorld) -> None:
    worker = world.worker("gpu-1")
    chat = world.deploy(name="chat")
    worker.run(chat)
    name = "muster_deployment_crash_loop"
    assert value(told(world), name, deployment="chat", error_code="X") is None
    loop = {"error_code": "X", "times": 3, "next_start_in": 40}
    worker.report(chat, "starting", restarts=3, error_code="X", crash_loop=loop)
    world.pass_(15)
    samples = told(world)
    assert value(samples, name, deployment="chat", error_code="X") == 1
    assert value(samples, f"{name}_failures", deployment="chat") == 3
    assert value(samples, "muster_deployment_next_start_seconds", deployment="chat") == 25
    worker.report(chat, "running", crash_loop={"error_code": "X", "times": 3})
    assert value(told(world), "muster_deployment_next_start_seconds", deployment="chat") is None
    assert value(told(world), name, deployment="chat", error_code="X") == 1
    intents.stop(chat, ADMIN, world.now)
    assert value(told(world), name, deployment="chat", error_code="X") is None


def test_operations_are_counted_by_status_while_they_are_open_and_once_when_they_end(world: PlaneWorld) -> None:
    worker = world.worker()
    pulls = [world.ask(worker, "pull_image", image=f"a:{n}") for n in range(3)]
    world.ask(worker, "disk_usage")
    worker.beat()
    worker.result(pulls[0], "running")
    worker.result(pulls[1], "failed", error_code="X")
    worker.result(pulls[1], "failed", error_code="X")
    samples = told(world)
    assert value(samples, "muster_operations_open", type="pull_image", status="running") == 1
    assert value(samples, "muster_operations_open", type="pull_image", status="sent") == 1
    assert value(samples, "muster_operations_open", type="disk_usage", status="sent") == 1
    assert value(samples, "muster_operations_ended_total", type="pull_image", status="failed") == 1
    assert value(samples, "muster_operations_ended_total", type="prune", status="succeeded") == 0
    world.pass_(61)
    assert value(told(world), "muster_operations_open", type="disk_usage", status="sent") is None, "it expired"


def test_a_scrape_costs_no_more_after_many_operations(world: PlaneWorld) -> None:
    worker = world.worker()

    def cost() -> Counter[str]:
        with world.database.counting() as calls:
            told(world)
        return Counter(operation for operation, _ in calls)

    before = cost()
    for _ in range(30):
        world.pass_(1)
        operation_id = world.ask(worker, "list_models")
        worker.beat()
        worker.result(operation_id, output={"models": []})
    assert before == cost() == {"Scan": 4, "BatchGetItem": 1, "Query": 4}, "and the end of the timeline"


@pytest.mark.parametrize("group", metrics.GROUPS)
def test_groups_add_up_to_everything(world: PlaneWorld, group: str) -> None:
    worker = world.worker()
    worker.run(world.deploy(gpus=1))
    worker.beat(
        gpu_usage=[{"index": 0, "memory_used": 1, "utilization": 5}],
        disk={"total": 9, "used": 1, "free": 8, "percent": 11.1},
    )
    fleet = FleetReader().read(world.now)
    by_group = {name: [family.name for family in metrics.families_of(fleet, [name])] for name in metrics.GROUPS}
    everything = [family.name for family in metrics.families_of(fleet)]
    assert everything == [name for names in by_group.values() for name in names] and by_group[group]
    assert len(everything) == len(set(everything))


@pytest.mark.parametrize(
    ("collect", "groups"), [(None, metrics.GROUPS), ("gpus", ["gpus"]), ("workers, disks", ["workers", "disks"])]
)
def test_a_scrape_chooses_groups(collect: str | None, groups: Collection[str]) -> None:
    assert metrics.groups(r.MetricsQuery(collect)) == groups


@pytest.mark.parametrize("collect", ["", "gpu", "gpus,", "gpus;disks"])
def test_a_group_that_does_not_exist_is_refused(collect: str) -> None:
    with pytest.raises(ApiError, match="collect: expected some of summary") as caught:
        metrics.groups(r.MetricsQuery(collect))
    assert caught.value.error_code == "INVALID_REQUEST"
