"""What operators do with workers: they look, label, drain, declare lost, and remove."""

from __future__ import annotations

import pytest

from chalicelib.auth import tokens
from chalicelib.deployments import intents
from chalicelib.fleet import workers
from chalicelib.store import slots
from chalicelib.store.items import find
from chalicelib.store.tables import WorkerHeartbeat, WorkerName, WorkerReport
from chalicelib.workers import admin
from muster.api import resources as r
from muster.api.errors import ApiError
from tests.fixtures.plane_world import ADMIN, PlaneWorld, lines

IMAGE = {"id": "sha256:a", "tags": ["a:b"], "size": 5, "created": "2026-01-01T00:00:00Z"}
DISK = {"total": 100, "used": 60, "free": 20, "percent": 75.0}


def online(world: PlaneWorld, worker_id: str) -> bool:
    return admin.get(worker_id, world.now).status == "online"


def test_an_ephemeral_worker_that_was_heard_of_since_the_sweep_read_it_stays(world: PlaneWorld) -> None:
    made = tokens.create_token(r.NewRegistrationToken(ephemeral=True), ADMIN, world.now)
    worker = world.worker(token=str(made.token))
    world.pass_(901)
    read = find(WorkerHeartbeat, worker.id)
    assert read is not None
    worker.beat()
    admin.forget(read, world.now)
    assert online(world, worker.id)
    admin.remove(worker.id, False, "somebody else", world.now)
    admin.forget(read, world.now)


def test_a_workers_disk_and_folders_are_those_of_its_last_heartbeat(world: PlaneWorld) -> None:
    worker = world.worker()
    folder = {"path": "/models", "purpose": "weights", "total": 100, "used": 60, "free": 20}
    worker.beat(disk=DISK | {"paths": [folder]})
    world.pass_(30)
    worker.beat(disk=DISK)
    seen = admin.get(worker.id, world.now).disk
    assert seen is not None and seen.paths is not None
    assert (seen.total, seen.used, seen.free, seen.percent) == (100, 60, 20, 75.0)
    assert [each.path for each in seen.paths] == ["/models"]
    assert seen.as_of == "2027-01-15T08:00:30Z"


def test_images_and_disk_of_a_heartbeat_are_an_answer_for_five_minutes(world: PlaneWorld) -> None:
    worker = world.worker()
    assert admin.last_images(worker.id, world.now) is None
    assert admin.last_disk(workers.get(worker.id), world.now) is None
    worker.beat(images=[IMAGE], disk=DISK)
    world.pass_(300)
    images, disk = admin.last_images(worker.id, world.now), admin.last_disk(workers.get(worker.id), world.now)
    assert images is not None and [each.id for each in images.images] == ["sha256:a"]
    assert disk is not None and disk.free == 20
    world.pass_(0.1)
    assert admin.last_images(worker.id, world.now) is None
    assert admin.last_disk(workers.get(worker.id), world.now) is None


def test_what_an_operator_patched_a_registration_leaves_alone(world: PlaneWorld) -> None:
    worker = world.worker(labels={"rack": "1"}, address="10.0.0.1", boot_id="1")
    admin.patch(worker.id, r.WorkerPatch(labels={"rack": "2"}), ADMIN, world.now)
    worker.register(labels={"rack": "3"}, address="10.0.0.3", boot_id="2")
    seen = admin.get(worker.id, world.now)
    assert (seen.labels, seen.address) == ({"rack": "2"}, "10.0.0.3")
    patched = admin.patch(worker.id, r.WorkerPatch(address=None), ADMIN, world.now)
    assert patched.address is None
    worker.register(address="10.0.0.4", boot_id="3")
    assert admin.get(worker.id, world.now).address is None


def test_a_patch_of_nothing_changes_nothing_and_leaves_no_line(world: PlaneWorld) -> None:
    worker = world.worker(labels={"rack": "1"})
    before = lines(world, worker.id)
    assert admin.patch(worker.id, r.WorkerPatch(), ADMIN, world.now).labels == {"rack": "1"}
    assert lines(world, worker.id) == before


def test_a_worker_that_opens_again_gets_what_waited_for_it(world: PlaneWorld) -> None:
    worker = world.worker()
    admin.patch(worker.id, r.WorkerPatch(draining=True), ADMIN, world.now)
    deployment_id = world.deploy()
    assert world.see(deployment_id).worker_id is None
    admin.patch(worker.id, r.WorkerPatch(draining=False), ADMIN, world.now)
    assert world.see(deployment_id).worker_id == worker.id


def test_a_worker_that_is_declared_lost_names_what_was_lost_with_it(world: PlaneWorld) -> None:
    worker = world.worker()
    running, ended = world.deploy(name="running"), world.deploy(name="ended")
    worker.run(running)
    worker.report(ended, "error", error_code="X")
    lost = admin.lose(worker.id, ADMIN, world.now)
    assert lost.deployments_lost == [running]
    seen = world.see(running)
    assert (seen.status, seen.error_code, seen.message) == ("error", "WORKER_LOST", "key admin declared gpu-1 lost")


def test_a_worker_with_live_deployments_is_removed_by_force_alone_and_names_what_runs_there(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy(name="chat")
    worker.run(deployment_id)
    worker.beat(active_deployments=[deployment_id, "an-orphan"])
    with pytest.raises(ApiError, match="chat") as caught:
        admin.remove(worker.id, False, ADMIN.label, world.now)
    assert caught.value.error_code == "WORKER_NOT_EMPTY"
    removed = admin.remove(worker.id, True, ADMIN.label, world.now)
    assert removed.containers_left == ["an-orphan", "c1"]
    assert (world.see(deployment_id).status, world.see(deployment_id).error_code) == ("error", "WORKER_REMOVED")


def test_a_removed_worker_leaves_its_tombstone_and_nothing_else(world: PlaneWorld) -> None:
    worker = world.worker()
    world.ask(worker, "list_models")
    world.stop(world.deploy())
    worker.beat(images=[IMAGE])
    admin.remove(worker.id, False, ADMIN.label, world.now)
    assert slots.of_worker(worker.id) == ([], [])
    assert find(WorkerReport, worker.id, "seen") is None
    assert list(WorkerName.scan(WorkerName.part == "name")) == []
    assert r.Workers([]) == admin.list_(r.PageQuery(), world.now)
    heartbeat = find(WorkerHeartbeat, worker.id)
    assert heartbeat is not None and heartbeat.gone
    with pytest.raises(ApiError) as caught:
        worker.beat()
    assert caught.value.error_code == "WORKER_REMOVED"


def test_live_deployments_are_those_that_the_worker_has_or_should_have(world: PlaneWorld) -> None:
    here, there = world.worker("here"), world.worker("there")
    moved, stays, over = (world.deploy(worker_id=here.id, gpus=0) for _ in range(3))
    intents.patch(moved, r.DeploymentPatch(worker_id=there.id), ADMIN, world.now)
    world.stop(over)
    assert [each.deployment_id for each in admin.live_deployments(here.id)] == [stays]


def test_a_list_goes_by_name_in_pages(world: PlaneWorld) -> None:
    for name in ("c", "a", "b"):
        world.worker(name)
    first = admin.list_(r.PageQuery(limit=2), world.now)
    rest = admin.list_(r.PageQuery(2, first.next_token), world.now)
    assert [each.name for each in [*first.workers, *rest.workers]] == ["a", "b", "c"]
    assert rest.next_token is None
