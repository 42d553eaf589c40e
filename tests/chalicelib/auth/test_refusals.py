"""Why a credential opens nothing."""

from __future__ import annotations

import pytest

from chalicelib.auth import refusals, tokens
from chalicelib.workers import admin
from muster.api import resources as r
from muster.api.endpoints import BY_NAME
from tests.fixtures.plane_world import ADMIN, PlaneWorld


def code(world: PlaneWorld, secret: str, worker_id: str | None, endpoint: str = "heartbeat") -> str:
    return refusals.explain(secret, BY_NAME[endpoint], worker_id, world.now).error_code


def test_a_worker_that_was_removed_is_told_so_by_any_token_that_it_had(world: PlaneWorld) -> None:
    worker = world.worker(boot_id="1")
    worker.beat()
    older = worker.token
    worker.register(boot_id="2")
    admin.remove(worker.id, False, "an admin", world.now)
    for token in (older, worker.token):
        assert code(world, token, worker.id) == "WORKER_REMOVED"
    assert code(world, "another", worker.id) == "UNAUTHENTICATED"


def test_a_token_that_is_good_belongs_to_an_older_session(world: PlaneWorld) -> None:
    worker = world.worker()
    assert code(world, worker.token, worker.id) == "SESSION_SUPERSEDED"


@pytest.mark.parametrize("endpoint", ["heartbeat", "whoami", "get_worker"])
def test_a_workers_token_opens_no_route_but_its_own(world: PlaneWorld, endpoint: str) -> None:
    worker, other = world.worker(), world.worker("other")
    path = None if endpoint == "whoami" else other.id
    assert code(world, worker.token, path, endpoint) == "FORBIDDEN"


@pytest.mark.parametrize(("endpoint", "words"), [("heartbeat", "for workers"), ("create_key", "the role operator")])
def test_an_api_key_learns_what_it_lacks(world: PlaneWorld, endpoint: str, words: str) -> None:
    key = str(tokens.create_key(r.NewApiKey("viewer", "viewer"), ADMIN, world.now).key)
    assert words in refusals.explain(key, BY_NAME[endpoint], None, world.now).message
