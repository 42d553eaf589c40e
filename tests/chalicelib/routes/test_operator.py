"""What operators call: each handler hands on what its request says, and who says it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from chalicelib.auth import tokens
from chalicelib.routes import operator
from chalicelib.telemetry import exposition
from muster.api import resources as r
from muster.api.endpoints import Access
from muster.api.errors import ApiError
from muster.api.version import VERSION
from tests.fixtures.database import Recorder
from tests.fixtures.plane_world import ADMIN, PlaneWorld
from tests.fixtures.prometheus import samples_of
from tests.fixtures.route_calls import call

VIEWER = tokens.Principal("key viewer", Access.VIEWER)


def ask(world: PlaneWorld, handler: Any, name: str, by: tokens.Principal = ADMIN, **request: Any) -> Any:
    return handler(call(name, world.now, by, **request))


def test_a_deployment_goes_through_its_routes(world: PlaneWorld) -> None:
    body = {"model": "org/model", "name": "chat", "gpus": 0}
    made = ask(world, operator.create_deployment, "create_deployment", body=body)
    ids = {"deployment_id": made.deployment_id}
    assert ask(world, operator.get_deployment, "get_deployment", ids=ids) == made
    changed = ask(world, operator.patch_deployment, "patch_deployment", ids=ids, body={"config": {"a": 1}})
    assert changed.config == {"a": 1}
    assert ask(world, operator.stop_deployment, "stop_deployment", ids=ids).desired == "stopped"
    assert ask(world, operator.start_deployment, "start_deployment", ids=ids).desired == "running"
    restarted = ask(world, operator.restart_deployment, "restart_deployment", ids=ids)
    assert restarted.generation > changed.generation
    ask(world, operator.stop_deployment, "stop_deployment", ids=ids)
    told = ask(world, operator.deployment_events, "deployment_events", ids=ids).events
    assert {line.by for line in told} <= {"key admin", "control plane"}
    assert ask(world, operator.delete_deployment, "delete_deployment", ids=ids).deployment_id == made.deployment_id
    assert ask(world, operator.list_deployments, "list_deployments").deployments == []


def test_a_viewer_is_shown_no_key_of_a_model(world: PlaneWorld) -> None:
    ids = {"deployment_id": world.deploy()}
    for by, is_shown in ((ADMIN, True), (VIEWER, False)):
        one = ask(world, operator.get_deployment, "get_deployment", by, ids=ids)
        [of_list] = ask(world, operator.list_deployments, "list_deployments", by).deployments
        assert [isinstance(each.api_key, str) for each in (one, of_list)] == [is_shown] * 2


def test_an_idempotency_key_creates_once(world: PlaneWorld) -> None:
    request: dict[str, Any] = {"headers": {"idempotency-key": "k"}, "body": {"model": "m"}}
    made = [ask(world, operator.create_deployment, "create_deployment", **request).deployment_id for _ in range(2)]
    assert made[0] == made[1]
    request["body"] = {"model": "another"}
    with pytest.raises(ApiError) as caught:
        ask(world, operator.create_deployment, "create_deployment", **request)
    assert caught.value.error_code == "IDEMPOTENCY_MISMATCH"


def test_a_worker_goes_through_its_routes(world: PlaneWorld) -> None:
    worker = world.worker()
    ids = {"worker_id": worker.id}
    assert ask(world, operator.patch_worker, "patch_worker", ids=ids, body={"draining": True}).draining
    assert ask(world, operator.get_worker, "get_worker", ids=ids).status == "draining"
    assert [each.name for each in ask(world, operator.list_workers, "list_workers").workers] == ["gpu-1"]
    assert ask(world, operator.lose_worker, "lose_worker", ids=ids).deployments_lost == []
    told = [line.type for line in ask(world, operator.worker_events, "worker_events", ids=ids).events]
    assert told == ["lost", "draining", "joined"]
    assert ask(world, operator.remove_worker, "remove_worker", ids=ids).containers_left == []
    assert ask(world, operator.list_workers, "list_workers").workers == []


def test_force_removes_a_worker_that_is_not_empty(world: PlaneWorld) -> None:
    worker = world.worker()
    world.deploy()
    ids = {"worker_id": worker.id}
    with pytest.raises(ApiError) as caught:
        ask(world, operator.remove_worker, "remove_worker", ids=ids)
    assert caught.value.error_code == "WORKER_NOT_EMPTY"
    assert ask(world, operator.remove_worker, "remove_worker", ids=ids, query={"force": "true"}).worker_id == worker.id


@pytest.mark.parametrize(
    ("handler", "name", "error_code"),
    [
        (operator.deployment_events, "deployment_events", "DEPLOYMENT_NOT_FOUND"),
        (operator.worker_events, "worker_events", "WORKER_NOT_FOUND"),
        (operator.list_operations, "list_operations", "WORKER_NOT_FOUND"),
        (operator.get_operation, "get_operation", "OPERATION_NOT_FOUND"),
        (operator.cancel_operation, "cancel_operation", "OPERATION_NOT_FOUND"),
        (operator.revoke_key, "revoke_key", "KEY_NOT_FOUND"),
        (operator.revoke_token, "revoke_token", "TOKEN_NOT_FOUND"),
    ],
)
def test_what_is_not_there_is_not_found(world: PlaneWorld, handler: Any, name: str, error_code: str) -> None:
    kinds = ("deployment_id", "worker_id", "operation_id", "key_id", "token_id")
    with pytest.raises(ApiError) as caught:
        ask(world, handler, name, ids=dict.fromkeys(kinds, "nothing"))
    assert caught.value.error_code == error_code


def test_an_operation_is_shown_listed_and_cancelled(world: PlaneWorld) -> None:
    worker = world.worker()
    ids = {"worker_id": worker.id, "operation_id": world.ask(worker, "pull_image", image="a:b")}
    shown = ask(world, operator.get_operation, "get_operation", ids=ids)
    assert ask(world, operator.list_operations, "list_operations", ids=ids).operations == [shown]
    assert ask(world, operator.cancel_operation, "cancel_operation", ids=ids).status == "cancelled"
    assert [line.by for line in ask(world, operator.all_events, "events").events][:2] == ["key admin", "key admin"]


def test_credentials_go_through_their_routes(world: PlaneWorld) -> None:
    key = ask(world, operator.create_key, "create_key", body={"name": "ci", "role": "viewer"})
    token = ask(world, operator.create_token, "create_token", body={"name": "rack 4"})
    listed = [each.key_id for each in ask(world, operator.list_keys, "list_keys").api_keys]
    assert listed == [key.key_id]
    names = [each.name for each in ask(world, operator.list_tokens, "list_tokens").registration_tokens]
    assert names == ["local", "rack 4"] or names == ["rack 4", "local"]
    ask(world, operator.revoke_key, "revoke_key", ids={"key_id": key.key_id})
    ask(world, operator.revoke_token, "revoke_token", ids={"token_id": token.token_id})
    assert ask(world, operator.list_keys, "list_keys").api_keys == []


def test_a_key_is_told_what_it_is(world: PlaneWorld) -> None:
    assert ask(world, operator.whoami, "whoami", VIEWER) == r.WhoAmI("viewer", "viewer")


def test_metrics_are_prometheus_text(world: PlaneWorld) -> None:
    world.worker()
    answer = ask(world, operator.scrape, "metrics")
    assert answer.headers == {"Content-Type": exposition.CONTENT_TYPE}
    assert samples_of(answer.body)["muster_worker_online", frozenset({("worker", "gpu-1")})] == 1


def test_discovery_is_what_runs(world: PlaneWorld) -> None:
    worker = world.worker(address="10.0.0.7")
    worker.run(world.deploy())
    assert [each.targets for each in ask(world, operator.discover, "discover")] == [["10.0.0.7:8001"]]


def test_health_asks_the_database(database: Recorder) -> None:
    with database.counting() as calls:
        assert operator.health(call("health", 0)) == r.Health("ok", VERSION)
    assert [operation for operation, _ in calls] == ["GetItem"]


def test_the_document_has_the_version() -> None:
    answer = operator.openapi_document(call("openapi", 0))
    assert msgspec.json.decode(answer.body)["info"]["version"] == VERSION
