"""What workers call: their credential is checked first, and a body that cannot be read does not hide a bad one."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from chalicelib.auth import tokens
from chalicelib.auth.tokens import Principal
from chalicelib.routes import worker as routes
from muster.api import messages as m
from muster.api import resources as r
from muster.api import usage
from muster.api.endpoints import Access
from muster.api.errors import ApiError
from tests.fixtures.plane_world import ADMIN, PlaneWorld, Worker, lines
from tests.fixtures.route_calls import call

BEAT = {"status": "online", "gpu_usage": [], "active_deployments": []}


@pytest.fixture
def worker(world: PlaneWorld) -> Worker:
    return world.worker()


def beat(world: PlaneWorld, worker: Worker, bearer: str | None, body: Any = BEAT) -> str:
    """The error code; empty where it was answered."""
    try:
        routes.beat(call("heartbeat", world.now, bearer=bearer, ids={"worker_id": worker.id}, body=body))
    except ApiError as error:
        return error.error_code
    return ""


def test_a_heartbeat_brings_what_waits(world: PlaneWorld, worker: Worker) -> None:
    deployment_id = world.deploy()
    request = call("heartbeat", world.now, bearer=worker.token, ids={"worker_id": worker.id}, body=BEAT)
    assert [command.deployment_id for command in routes.beat(request).commands] == [deployment_id]


@pytest.mark.parametrize("body", [BEAT, b"{", {"status": "banana"}])
def test_a_heartbeat_with_a_bad_credential_is_refused_for_that(world: PlaneWorld, worker: Worker, body: Any) -> None:
    key = str(tokens.create_key(r.NewApiKey("ci", "admin"), ADMIN, world.now).key)
    other = world.worker("other")
    assert beat(world, worker, None, body) == "UNAUTHENTICATED"
    assert beat(world, worker, "nonsense", body) == "UNAUTHENTICATED"
    assert beat(world, worker, key, body) == "FORBIDDEN"
    assert beat(world, worker, other.token, body) == "FORBIDDEN"


def test_a_heartbeat_that_cannot_be_read_is_refused_for_that(world: PlaneWorld, worker: Worker) -> None:
    assert beat(world, worker, worker.token, b"{") == "INVALID_REQUEST"
    assert beat(world, worker, worker.token) == ""


USAGE = base64.b64encode(usage.pack(m.Heartbeat("online", [m.GpuUsage(0, 1, 100.0)], []))).decode()


def short(worker: Worker, **fields: Any) -> dict[str, Any]:
    return {"session": worker.answer.session, "unchanged": "x", "usage": USAGE, **fields}


def test_a_short_heartbeat_is_told_by_its_field(world: PlaneWorld, worker: Worker) -> None:
    request = call("heartbeat", world.now, bearer=worker.token, ids={"worker_id": worker.id}, body=short(worker))
    assert routes.beat(request) == m.ShortHeartbeatAnswer(0, full=True)


@pytest.mark.parametrize(
    "packed",
    [b"", bytes(23), bytes(25), bytes(24 + 65 * 8), b"\xff" * 24, bytes(24) + (126).to_bytes(8, "little")],
    ids=["nothing", "short", "odd", "long", "disk", "utilization"],
)
def test_a_short_heartbeat_with_other_figures_is_refused(world: PlaneWorld, worker: Worker, packed: bytes) -> None:
    body = short(worker, usage=base64.b64encode(packed).decode())
    assert beat(world, worker, worker.token, body) == "INVALID_REQUEST"
    assert beat(world, worker, "nonsense", body) == "UNAUTHENTICATED"


@pytest.mark.parametrize("field", ["session", "usage"])
def test_a_short_heartbeat_needs_all_of_its_fields(world: PlaneWorld, worker: Worker, field: str) -> None:
    body = short(worker)
    del body[field]
    assert beat(world, worker, worker.token, body) == "INVALID_REQUEST"


def test_a_report_is_told_of_under_its_workers_name(world: PlaneWorld, worker: Worker) -> None:
    deployment_id = world.deploy()
    worker.beat()
    by = Principal(f"worker {worker.id}", Access.WORKER, worker.id)
    ids = {"worker_id": worker.id, "deployment_id": deployment_id}
    applied = routes.report(call("report", world.now, by, ids=ids, body={"status": "running"}))
    assert (applied.applied, applied.status) == (True, "running")
    assert lines(world, deployment_id)[-1].by == "worker gpu-1"


def test_a_result_is_of_the_command_in_the_path(world: PlaneWorld, worker: Worker) -> None:
    operation_id = world.ask(worker, "list_models")
    worker.beat()
    ids = {"worker_id": worker.id, "command_id": operation_id}
    body = {"status": "succeeded", "output": {"models": []}}
    by = Principal(f"worker {worker.id}", Access.WORKER, worker.id)
    assert routes.result(call("result", world.now, by, body=body, ids=ids)).applied
    assert world.operation(operation_id).status == "succeeded"
