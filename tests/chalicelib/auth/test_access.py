"""Who calls, and whether the route is open to that caller."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.auth import tokens
from chalicelib.workers import admin
from muster.api import resources as r
from muster.api.endpoints import Access
from muster.api.errors import ApiError
from tests.fixtures.plane_world import ADMIN, PlaneWorld
from tests.fixtures.route_calls import call


def refused(act: Any, *arguments: Any) -> str:
    with pytest.raises(ApiError) as caught:
        act(*arguments)
    return caught.value.error_code


def key_of(world: PlaneWorld, role: Any) -> str:
    return str(tokens.create_key(r.NewApiKey(role, role), ADMIN, world.now).key)


@pytest.mark.parametrize(
    ("endpoint", "opens"),
    [
        ("whoami", {"viewer", "operator", "admin"}),
        ("create_deployment", {"operator", "admin"}),
        ("create_key", {"operator", "admin"}),
        ("report", set[str]()),
    ],
)
def test_a_key_opens_what_its_role_opens(world: PlaneWorld, endpoint: str, opens: set[str]) -> None:
    for role in ("viewer", "operator", "admin"):
        request = call(endpoint, world.now, bearer=key_of(world, role), ids={"worker_id": "w"})
        if role in opens:
            assert request.authenticate().label == f"key {role}"
        else:
            assert refused(request.authenticate) == "FORBIDDEN"


@pytest.mark.parametrize("bearer", [None, "nonsense", "mst_key_nonsense", "mst_wrk_nobody_x", "mst_wrk_"])
def test_a_credential_that_nobody_was_given_is_unauthenticated(world: PlaneWorld, bearer: str | None) -> None:
    worker = world.worker()
    for name in ("whoami", "report", "list_images"):
        request = call(name, world.now, bearer=bearer, ids={"worker_id": worker.id})
        assert refused(request.authenticate) == "UNAUTHENTICATED"


@pytest.mark.parametrize("name", ["report", "result", "list_images", "container_logs"])
def test_a_worker_opens_its_own_routes(world: PlaneWorld, name: str) -> None:
    worker = world.worker()
    found = call(name, world.now, bearer=worker.token, ids={"worker_id": worker.id}).authenticate()
    assert (found.id, found.access, found.label) == (worker.id, Access.WORKER, f"worker {worker.id}")


@pytest.mark.parametrize("name", ["report", "list_images", "list_containers", "whoami", "get_worker"])
def test_a_worker_opens_nothing_of_others_or_of_operators(world: PlaneWorld, name: str) -> None:
    worker, other = world.worker(), world.worker("other")
    request = call(name, world.now, bearer=worker.token, ids={"worker_id": other.id})
    assert refused(request.authenticate) == "FORBIDDEN"
    if name in ("list_containers", "get_worker"):
        request = call(name, world.now, bearer=worker.token, ids={"worker_id": worker.id})
        assert refused(request.authenticate) == "FORBIDDEN"


def test_the_use_of_a_new_token_ends_the_older(world: PlaneWorld) -> None:
    worker = world.worker(boot_id="1")
    older = worker.token
    worker.beat()
    worker.register(boot_id="2")

    def opens(token: str) -> Any:
        return call("report", world.now, bearer=token, ids={"worker_id": worker.id}).authenticate()

    assert opens(older).id == opens(worker.token).id == worker.id
    assert refused(opens, older) == "SESSION_SUPERSEDED"
    admin.remove(worker.id, False, "an admin", world.now)
    assert refused(opens, worker.token) == "WORKER_REMOVED"
