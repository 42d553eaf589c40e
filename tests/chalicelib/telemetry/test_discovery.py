"""Where Prometheus finds the models' own metrics."""

from __future__ import annotations

import pytest

from chalicelib.telemetry import discovery
from tests.fixtures.plane_world import PlaneWorld


def discovered(world: PlaneWorld) -> list[tuple[list[str], dict[str, str]]]:
    return [(each.targets, each.labels) for each in discovery.targets(world.now)]


@pytest.mark.parametrize(
    ("address", "target", "scheme", "path"),
    [
        ("10.0.0.7", "10.0.0.7:8001", "http", "/metrics"),
        ("fd00::7", "[fd00::7]:8001", "http", "/metrics"),
        ("https://gpu07-{port}.example.org", "gpu07-8001.example.org:443", "https", "/metrics"),
        ("https://example.org/gpu07/{port}/", "example.org:443", "https", "/gpu07/8001/metrics"),
        ("http://gpu07.example.org", "gpu07.example.org:8001", "http", "/metrics"),
    ],
)
def test_a_running_model_is_found_by_its_workers_address(
    world: PlaneWorld, address: str, target: str, scheme: str, path: str
) -> None:
    worker = world.worker("gpu-7", address=address, labels={"site": "lab", "a-b": "c"})
    deployment_id = world.deploy("org/m", name="chat")
    assert discovered(world) == []
    worker.run(deployment_id)
    labels = {
        "__scheme__": scheme,
        "__metrics_path__": path,
        "__meta_muster_label_site": "lab",
        "__meta_muster_label_a_b": "c",
        "muster_deployment": "chat",
        "muster_deployment_id": deployment_id,
        "model": "org/m",
        "worker": "gpu-7",
    }
    assert discovered(world) == [([target], labels)]
    world.pass_(91)
    assert discovered(world) == [], "nobody knows whether it is there"


def test_an_address_that_is_none_hides_its_own_models_alone(world: PlaneWorld) -> None:
    for n, address in enumerate(["http://[", "ftp://x", "a b", "http://:80", "http://x:port", "10.0.0.7", None]):
        worker = world.worker(f"gpu-{n}", address=address)
        worker.run(world.deploy(worker_id=worker.id, gpus=0, name=f"d{n}"))
    assert [targets for targets, _ in discovered(world)] == [["10.0.0.7:8001"]]


def test_a_model_on_a_worker_without_an_address_is_not_listed(world: PlaneWorld) -> None:
    worker = world.worker()
    worker.run(world.deploy())
    assert discovered(world) == []
