"""Containers, images and storage of one worker: what it is asked, and what is answered without asking it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from chalice.app import Response

from chalicelib.routes import host
from chalicelib.workers import admin
from muster.api import messages as m
from muster.api.errors import ApiError
from tests.fixtures.plane_world import ADMIN, PlaneWorld, Worker
from tests.fixtures.route_calls import call

IMAGE = {"id": "sha256:a", "tags": ["a:b"], "size": 5, "created": "2026-01-01T00:00:00Z"}


@pytest.fixture
def worker(world: PlaneWorld) -> Worker:
    return world.worker()


def get(world: PlaneWorld, name: str, ids: dict[str, str], body: Any = None, **query: str) -> Any:
    """What the handler answers at once."""
    return getattr(host, name)(call(name, world.now, ADMIN, ids=ids, body=body, query={"wait": "0"} | query))


def code(caught: pytest.ExceptionInfo[ApiError]) -> str:
    return caught.value.error_code


@pytest.mark.parametrize(
    ("name", "ids", "query", "body", "command"),
    [
        ("container_logs", {"container_id": "c"}, {"lines": "5"}, None, m.ContainerLogs("", 60.0, "c", 5)),
        ("list_images", {}, {}, None, m.ListImages("", 60.0)),
        ("pull_image", {}, {}, {"image": "a:b"}, m.PullImage("", 600.0, "a:b")),
        ("delete_image", {"image_id": "a"}, {"force": "true"}, None, m.DeleteImage("", 600.0, "a", True)),
        ("disk_usage", {}, {}, None, m.DiskUsage("", 60.0)),
        ("prune", {}, {}, {"images": True, "dry_run": True}, m.Prune("", 600.0, images=True, dry_run=True)),
        ("list_containers", {}, {}, None, m.ListContainers("", 60.0)),
        ("stop_container", {"container_id": "c"}, {}, None, m.StopContainer("", 600.0, "c")),
        ("list_models", {}, {}, None, m.ListModels("", 60.0)),
        ("delete_model", {"model": "org/model"}, {}, None, m.DeleteModel("", 600.0, "org/model")),
    ],
)
def test_a_route_asks_the_worker_for_its_command(
    world: PlaneWorld,
    worker: Worker,
    name: str,
    ids: dict[str, str],
    query: dict[str, str],
    body: Any,
    command: m.OperationCommand,
) -> None:
    answer = get(world, name, {"worker_id": worker.id, **ids}, body, **query)
    assert isinstance(answer, Response) and answer.status_code == 202
    operation_id = msgspec.json.decode(answer.body)["operation_id"]
    assert worker.beat().commands == [msgspec.structs.replace(command, command_id=operation_id)]


def test_images_and_disk_of_the_last_heartbeat_are_answered_without_asking(world: PlaneWorld, worker: Worker) -> None:
    worker.beat(images=[IMAGE], disk={"total": 100, "used": 60, "free": 20})
    ids = {"worker_id": worker.id}
    images, disk = get(world, "list_images", ids), get(world, "disk_usage", ids)
    assert [each.id for each in images.images] == ["sha256:a"] and disk.free == 20
    assert worker.types() == []
    for name in ("list_images", "disk_usage"):
        assert get(world, name, ids, fresh="true").status_code == 202
    assert sorted(worker.types()) == ["disk_usage", "list_images"]


@pytest.mark.parametrize("name", ["list_images", "disk_usage", "list_models", "pull_image"])
def test_a_worker_that_is_none_is_not_found(world: PlaneWorld, name: str) -> None:
    with pytest.raises(ApiError) as caught:
        get(world, name, {"worker_id": "nobody"}, {"image": "a:b"})
    assert code(caught) == "WORKER_NOT_FOUND"


def test_a_plus_of_a_time_zone_that_became_a_space_is_one_again(world: PlaneWorld, worker: Worker) -> None:
    ids = {"worker_id": worker.id, "container_id": "c"}
    get(world, "container_logs", ids, since="2026-01-01T00:00:00 01:00")
    [command] = worker.beat().commands
    assert isinstance(command, m.ContainerLogs) and command.since == "2026-01-01T00:00:00+01:00"


def test_logs_of_a_deployment_are_of_its_container_or_whatever_it_is_in(world: PlaneWorld, worker: Worker) -> None:
    deployment_id = world.deploy()
    worker.beat()
    ids = {"deployment_id": deployment_id}
    get(world, "deployment_logs", ids)
    worker.report(deployment_id, "running", container_id="c0ffee")
    get(world, "deployment_logs", ids)
    asked = [each.container_id for each in worker.beat().commands if isinstance(each, m.ContainerLogs)]
    assert sorted(asked) == sorted([deployment_id, "c0ffee"])


def test_logs_of_what_waits_for_a_place_are_not_found(world: PlaneWorld) -> None:
    with pytest.raises(ApiError) as caught:
        get(world, "deployment_logs", {"deployment_id": world.deploy()})
    assert code(caught) == "CONTAINER_NOT_FOUND"


def test_logs_of_a_crash_are_answered_where_nobody_can_be_asked(world: PlaneWorld, worker: Worker) -> None:
    deployment_id = world.deploy()
    worker.run(deployment_id)
    worker.report(deployment_id, "error", error_code="X", logs="the reason")
    world.pass_(100)
    assert get(world, "deployment_logs", {"deployment_id": deployment_id}) == m.Logs("the reason")


def test_logs_on_a_worker_that_was_removed_are_not_found(world: PlaneWorld, worker: Worker) -> None:
    deployment_id = world.deploy()
    worker.run(deployment_id)
    admin.remove(worker.id, True, "an admin", world.now)
    with pytest.raises(ApiError, match="removed") as caught:
        get(world, "deployment_logs", {"deployment_id": deployment_id})
    assert code(caught) == "CONTAINER_NOT_FOUND"
