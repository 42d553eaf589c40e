"""Which endpoints are shown: of two workers that claim one address, never both."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.deployments import publication
from chalicelib.fleet import workers
from chalicelib.store.tables import WorkerRecord
from chalicelib.telemetry import discovery, exposition, metrics
from chalicelib.workers import admin
from muster.api import resources as r
from muster.api.conditions import ConditionType
from tests.fixtures.plane_world import ADMIN, PlaneWorld, Worker

CONFLICT = ConditionType.ADDRESS_CONFLICT


def running(world: PlaneWorld, name: str, address: str | None, **host: Any) -> tuple[Worker, str]:
    worker = world.worker(name, address=address, **host)
    deployment_id = world.deploy(worker_id=worker.id, gpus=0, name=f"on-{name}")
    worker.run(deployment_id)
    return worker, deployment_id


def scraped(world: PlaneWorld) -> list[str]:
    return sorted(target.labels["worker"] for target in discovery.targets(world.now))


def conditions(world: PlaneWorld, worker: Worker) -> list[str]:
    one = [each.type for each in admin.get(worker.id, world.now).conditions]
    listed = {each.worker_id: each for each in admin.list_(r.PageQuery(), world.now).workers}
    assert [each.type for each in listed[worker.id].conditions] == one
    return one


def measured(world: PlaneWorld, worker: Worker) -> bool:
    lines = exposition.text(metrics.families(world.now)).splitlines()
    return f'muster_worker_condition{{worker="{worker.name}",type="{CONFLICT}"}} 1' in lines


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("10.0.0.7", "::ffff:10.0.0.7"),
        ("gpu-1", "GPU-1."),
        ("gpu-1.example", "10.0.0.7"),
        ("10.0.0.7", "http://10.0.0.7:{port}/x"),
        ("https://gpu-{port}.example", "https://gpu-{port}.example"),
        ("https://proxy.example/{port}", "https://proxy.example/{port}/"),
    ],
)
def test_the_later_claim_of_an_address_and_port_is_hidden_while_the_earlier_one_is_online(
    world: PlaneWorld, first: str, second: str
) -> None:
    world.names = {"gpu-1.example": ["10.0.0.7"]}
    one, held = running(world, "one", first)
    world.pass_(5)
    two, hidden = running(world, "two", second)
    shown, seen = world.see(held), world.see(hidden)
    assert shown.endpoint and (shown.endpoint_problem, shown.conditions) == (None, [])
    assert seen.endpoint is None and "worker one" in (seen.endpoint_problem or "")
    assert [each.type for each in seen.conditions] == [CONFLICT]
    assert (seen.status, seen.reachable) == ("running", True)
    assert scraped(world) == ["one"]
    assert (conditions(world, one), conditions(world, two)) == ([], [CONFLICT])
    assert (measured(world, one), measured(world, two)) == (False, True)
    world.pass_(91)
    two.beat()
    assert world.see(hidden).endpoint, "the lease went to another machine"
    assert scraped(world) == ["two"]
    assert conditions(world, two) == []
    one.beat()
    assert (world.see(held).endpoint is None, world.see(hidden).endpoint) == (False, None)


def test_agents_of_one_machine_share_its_address(world: PlaneWorld) -> None:
    for name in ("one", "two"):
        _, deployment_id = running(world, name, "10.0.0.7", machine_id="m")
        assert world.see(deployment_id).endpoint == "http://10.0.0.7:8001"
    assert scraped(world) == ["one", "two"]


def test_workers_that_send_no_machine_id_are_different_machines(world: PlaneWorld) -> None:
    running(world, "one", "10.0.0.7")
    world.pass_(1)
    _, hidden = running(world, "two", "10.0.0.7", system_info={"hostname": "one"})
    assert world.see(hidden).endpoint is None


def test_another_port_of_an_address_is_nobody_elses(world: PlaneWorld) -> None:
    running(world, "one", "10.0.0.7")
    two = world.worker("two", address="10.0.0.7")
    deployment_id = world.deploy(worker_id=two.id, gpus=0)
    two.beat()
    two.report(deployment_id, "running", container_id="c", port=8002)
    assert world.see(deployment_id).endpoint == "http://10.0.0.7:8002"


def test_models_behind_one_proxy_have_paths_of_their_own(world: PlaneWorld) -> None:
    for name in ("one", "two"):
        _, deployment_id = running(world, name, f"https://proxy.example/{name}/{{port}}")
        assert world.see(deployment_id).endpoint == f"https://proxy.example/{name}/8001"


def test_names_that_a_tunnel_has_at_one_address_of_its_own_are_different_places(world: PlaneWorld) -> None:
    world.names = {f"gpu{n}-20000.example": ["203.0.113.1"] for n in (1, 2)}
    for n in (1, 2):
        _, deployment_id = running(world, f"gpu-{n}", f"https://gpu{n}-{{port}}.example")
        assert world.see(deployment_id).endpoint == f"https://gpu{n}-8001.example"


def test_the_claim_that_an_operator_pinned_is_the_one_that_counts(world: PlaneWorld) -> None:
    _, squatted = running(world, "squatter", "10.0.0.7")
    world.pass_(5)
    right, pinned = running(world, "right", "10.0.0.6")
    admin.patch(right.id, r.WorkerPatch(address="10.0.0.7"), ADMIN, world.now)
    assert world.see(pinned).endpoint == "http://10.0.0.7:8001"
    assert world.see(squatted).endpoint is None


def test_a_restart_of_the_holder_gives_its_place_to_nobody(world: PlaneWorld) -> None:
    one, held = running(world, "one", "10.0.0.7")
    world.pass_(5)
    _, hidden = running(world, "two", "10.0.0.7")
    one.report(held, "starting")
    assert world.see(hidden).endpoint, "nobody else holds the port"
    world.pass_(5)
    one.report(held, "running", container_id="c2", port=8001)
    assert world.see(held).endpoint and world.see(hidden).endpoint is None


@pytest.mark.parametrize("address", ["169.254.169.254", "http://169.254.169.254/latest/meta-data/{port}", "a b"])
def test_an_address_that_was_stored_by_an_older_release_is_hidden_and_heartbeats_go_on(
    world: PlaneWorld, address: str
) -> None:
    worker, deployment_id = running(world, "old", "10.0.0.7")
    WorkerRecord(worker.id, part="cold").update(actions=[WorkerRecord.address.set(address)])
    worker.beat()
    seen = world.see(deployment_id)
    assert (seen.endpoint, [each.type for each in seen.conditions]) == (None, [CONFLICT])
    assert (scraped(world), conditions(world, worker)) == ([], [CONFLICT])


def test_a_port_that_makes_another_address_of_a_template_hides_the_endpoint(world: PlaneWorld) -> None:
    worker = world.worker(address="http://169.254.169.{port}/")
    deployment_id = world.deploy(worker_id=worker.id, gpus=0)
    worker.beat()
    worker.report(deployment_id, "running", container_id="c", port=254)
    seen = world.see(deployment_id)
    assert seen.endpoint is None and seen.endpoint_problem
    assert scraped(world) == []


def test_a_name_that_leads_to_a_metadata_service_is_hidden(world: PlaneWorld) -> None:
    world.names = {"gpu-1.example": ["10.0.0.7", "169.254.169.254"]}
    worker, deployment_id = running(world, "gpu-1", "gpu-1.example")
    assert world.see(deployment_id).endpoint is None
    assert conditions(world, worker) == [CONFLICT]


def test_a_control_plane_that_is_not_local_hides_loopback(world: PlaneWorld) -> None:
    worker, deployment_id = running(world, "here", "127.0.0.1")
    assert (world.see(deployment_id).endpoint, conditions(world, worker)) == (None, [CONFLICT])


def test_an_endpoint_is_shown_where_the_agent_says_that_the_model_listens(world: PlaneWorld) -> None:
    worker = world.worker(address="10.0.0.7", boot_id="1")
    deployment_id = world.deploy(worker_id=worker.id, gpus=0)
    worker.beat()
    worker.report(deployment_id, "running", container_id="c", port=8001, address="10.0.0.7")
    assert world.see(deployment_id).endpoint == "http://10.0.0.7:8001"
    worker.register(address="10.0.0.8", boot_id="2")
    seen = world.see(deployment_id)
    assert (seen.endpoint, seen.conditions) == (None, [])
    assert "10.0.0.8" in (seen.endpoint_problem or "")
    assert scraped(world) == []
    worker.report(deployment_id, "running", address="10.0.0.8")
    assert world.see(deployment_id).endpoint == "http://10.0.0.8:8001"
    worker.report(deployment_id, "running", address="", message="the host has lost it")
    seen = world.see(deployment_id)
    assert (seen.endpoint, seen.message) == (None, "the host has lost it")
    admin.patch(worker.id, r.WorkerPatch(address="203.0.113.5"), ADMIN, world.now)
    assert world.see(deployment_id).endpoint == "http://203.0.113.5:8001", "the operator knows of a way there"


def test_without_rivals_the_fleet_is_not_read(world: PlaneWorld) -> None:
    worker, deployment_id = running(world, "one", "10.0.0.7")
    machines = {worker.id: workers.get(worker.id)}
    assert publication.conflicts(machines, world.now) == {}
    assert world.see(deployment_id).endpoint
