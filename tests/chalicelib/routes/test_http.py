"""What every route shares: who calls, in which order it is checked, and one shape for whatever goes wrong."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from chalice.app import Response
from pynamodb.exceptions import PutError, PynamoDBException

from chalicelib.auth import tokens
from chalicelib.operations import wait_limit
from chalicelib.routes import http
from chalicelib.routes.matching import MethodNotAllowed
from chalicelib.store import settings
from chalicelib.store.items import TransactionConflict
from chalicelib.telemetry import access_log
from muster.api import resources as r
from muster.api.endpoints import Access
from muster.api.errors import ApiError
from tests.fixtures.plane_world import ADMIN, PlaneWorld, Worker
from tests.fixtures.route_calls import call

NOW = 1_800_000_000.0
PULLED = {"id": "sha256:a", "tags": ["a:b"]}


def refused(act: Any, *arguments: Any) -> str:
    with pytest.raises(ApiError) as caught:
        act(*arguments)
    return caught.value.error_code


# What was sent


@pytest.mark.parametrize(
    ("header", "secret"),
    [
        ("Bearer x", "x"),
        ("bearer  x ", "x"),
        ("BEARER two words", "two words"),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic x", None),
        ("x", None),
        ("", None),
    ],
)
def test_a_credential_is_what_follows_bearer(header: str, secret: str | None) -> None:
    assert call("whoami", NOW, headers={"authorization": header}).bearer == secret


def test_a_request_without_the_header_has_no_credential() -> None:
    assert call("whoami", NOW).bearer is None


def test_an_idempotency_key_is_of_its_caller_and_the_path() -> None:
    def once(name: str = "stop_deployment", by: str = "a", **ids: str) -> Any:
        principal = tokens.Principal("key", Access.ADMIN, by)
        return call(name, NOW, principal, ids=ids, headers={"idempotency-key": "k"}).once

    assert once(deployment_id="1") == once(deployment_id="1")
    others = [once(deployment_id="2"), once("start_deployment", deployment_id="1"), once(by="b", deployment_id="1")]
    assert once(deployment_id="1") not in others
    assert call("stop_deployment", NOW, ADMIN).once is None


@pytest.mark.parametrize("key", ["", " "])
def test_an_idempotency_key_of_nothing_is_refused(key: str) -> None:
    request = call("create_deployment", NOW, ADMIN, headers={"idempotency-key": key})
    assert refused(lambda: request.once) == "INVALID_REQUEST"


# Credentials


def test_an_open_route_asks_for_no_credential() -> None:
    request = call("health", NOW)
    assert http.authenticated(request) == request


@pytest.mark.parametrize(("body", "error_code"), [(b"", None), (b"{}", None), (b"{", "400"), (b'{"a":1}', "400")])
def test_a_route_that_takes_no_body_takes_an_empty_one_alone(
    world: PlaneWorld, body: bytes, error_code: str | None
) -> None:
    key = str(tokens.create_key(r.NewApiKey("admin", "admin"), ADMIN, world.now).key)
    request = call("stop_deployment", world.now, bearer=key, body=body)
    if error_code is None:
        assert http.authenticated(request).by.access is Access.ADMIN
    else:
        assert refused(http.authenticated, request) == "INVALID_REQUEST"


def test_the_credential_is_checked_before_the_body(world: PlaneWorld) -> None:
    assert refused(http.authenticated, call("stop_deployment", world.now, body=b"{")) == "UNAUTHENTICATED"


# What is answered


def test_an_answer_is_json_and_bytes_stay_as_they_are() -> None:
    made = http.dump(r.Health("ok", "1"), 201, {"X-A": "b"})
    assert (made.status_code, made.body) == (201, '{"status":"ok","version":"1"}')
    assert made.headers == {"Content-Type": "application/json", "X-A": "b"}
    assert http.dump(b"[]").body == "[]"


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (ApiError("UNAUTHENTICATED", "why"), 401, {"WWW-Authenticate": "Bearer"}),
        (ApiError("UNAVAILABLE", "why", retry_after=2), 503, {"Retry-After": "2"}),
        (ApiError("A_WORKERS_OWN", "why"), 502, {}),
    ],
)
def test_an_error_has_one_shape(error: ApiError, status: int, headers: dict[str, str]) -> None:
    made = http.failure(error)
    assert made.status_code == status
    assert msgspec.json.decode(made.body) == {"error_code": error.error_code, "message": "why"}
    assert made.headers == {"Content-Type": "application/json"} | headers


def test_a_refused_method_names_those_that_are_allowed() -> None:
    assert http.failure(MethodNotAllowed(["GET"])).headers["Allow"] == "GET"


def client_error(code: str) -> PynamoDBException:
    cause = ClientError({"Error": {"Code": code, "Message": "secret"}}, "PutItem")
    return PutError("secret", cause)


@pytest.mark.parametrize(
    "error",
    [
        TransactionConflict(),
        EndpointConnectionError(endpoint_url="http://secret"),
        PutError("secret", ReadTimeoutError(endpoint_url="http://secret")),
        PutError("Failed to batch write items: max_retry_attempts exceeded"),
        *(client_error(code) for code in sorted(http.BUSY)),
    ],
    ids=str,
)
def test_a_database_that_is_busy_or_away_is_unavailable(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    made = http.unexpected(error, "a route")
    assert (made.error_code, made.status, made.retry_after) == ("UNAVAILABLE", 503, 2)
    assert "secret" not in made.message
    [record] = caplog.records
    assert record.levelno == logging.WARNING and "a route" in record.getMessage()


@pytest.mark.parametrize("error", [ValueError("secret"), client_error("AccessDeniedException")], ids=str)
def test_any_other_fault_is_ours_and_the_log_has_it_under_the_requests_id(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    token = access_log.REQUEST.set("request-1")
    try:
        made = http.unexpected(error, "a route")
    finally:
        access_log.REQUEST.reset(token)
    assert (made.error_code, made.status) == ("INTERNAL_ERROR", 500)
    assert "request-1" in made.message and "secret" not in made.message
    [record] = caplog.records
    assert record.levelno == logging.ERROR and record.exc_info and "request-1" in record.getMessage()


def test_whatever_a_handler_raises_is_answered() -> None:
    def fails() -> Response:
        raise ApiError("FORBIDDEN", "why")

    def breaks() -> Response:
        raise RecursionError

    assert http.guarded("x", lambda: Response("fine")).body == "fine"
    assert http.guarded("x", fails).status_code == 403
    assert http.guarded("x", breaks).status_code == 500


# Operations that look synchronous


def ask(world: PlaneWorld, worker: Worker, seconds: float, key: str | None = None) -> Response:
    headers = {"idempotency-key": key} if key else {}
    request = call("pull_image", world.now, ADMIN, headers=headers, ids={"worker_id": worker.id})
    return http.ask(request, worker.id, "pull_image", {"image": "a:b"}, seconds)


def test_what_was_not_answered_is_202_with_where_to_look(world: PlaneWorld) -> None:
    worker = world.worker()
    made = ask(world, worker, 0)
    body = msgspec.json.decode(made.body, type=r.Accepted)
    assert (made.status_code, body.status) == (202, "queued")
    assert made.headers["Location"] == f"/api/operations/{body.operation_id}"
    assert made.headers["Retry-After"] == str(body.worker_next_heartbeat_in) and body.worker_next_heartbeat_in >= 1


def test_what_was_answered_is_the_output_or_the_workers_error(world: PlaneWorld) -> None:
    worker = world.worker()
    asked = [msgspec.json.decode(ask(world, worker, 0, key).body)["operation_id"] for key in ("good", "bad")]
    worker.beat()
    worker.result(asked[0], output=PULLED)
    worker.result(asked[1], "failed", error_code="IMAGE_NOT_FOUND", message="no such tag")
    again = ask(world, worker, 25, "good")
    assert (again.status_code, msgspec.json.decode(again.body)) == (200, PULLED)
    assert refused(ask, world, worker, 25, "bad") == "IMAGE_NOT_FOUND"


def test_where_too_many_wait_already_the_answer_is_202_without_a_wait(world: PlaneWorld) -> None:
    worker = world.worker()
    with ExitStack() as waiting:
        for _ in range(settings.MAX_WAITS):
            assert waiting.enter_context(wait_limit.permit(100_000, time.time()))
        with world.database.counting() as calls:
            assert ask(world, worker, 25).status_code == 202
    reads = [c for operation, c in calls if operation == "GetItem" and c["TableName"] == "muster-operations"]
    assert [each["Key"]["operation_id"]["S"] for each in reads] == ["waits"], "nobody looked for the answer again"
