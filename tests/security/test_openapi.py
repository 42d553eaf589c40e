"""The API against its own document, by schemathesis: what it generates from /api/openapi.json is sent to a real server.

Every operation is called as whoever its document admits, with what the document allows and with what it forbids. The
answer must be documented in status, content type and body; what is forbidden must be refused, and so must be a call
without its credential. The choices are made from a fixed seed.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from muster.api.endpoints import ENDPOINTS, Access, Endpoint
from muster.api.openapi import document
from muster.api.version import VERSION
from tests.fixtures.http_client import Client, Operator
from tests.fixtures.http_workers import Worker
from tests.fixtures.served import Server

ROLES = {Access.VIEWER: "viewer", Access.OPERATOR: "operator", Access.ADMIN: "admin"}


def _takes_something(endpoint: Endpoint) -> bool:
    return bool(endpoint.body or endpoint.query or endpoint.idempotent or "{" in endpoint.path)


def _named(value: Endpoint | str) -> str:
    return value.name if isinstance(value, Endpoint) else value


ALLOWED = [(endpoint, "positive") for endpoint in ENDPOINTS]
FORBIDDEN = [(endpoint, "negative") for endpoint in ENDPOINTS if _takes_something(endpoint)]


def test_the_document_is_the_one_that_is_served(anyone: Client) -> None:
    assert anyone.get("/api/openapi.json").expect(200) == document(VERSION)


@pytest.fixture(scope="module")
def host(server: Server) -> Worker:
    """The one that calls; its heartbeats may say anything."""
    worker = Worker(server.url, server.registration_token)
    worker.register()
    return worker


@pytest.fixture(scope="module")
def deployment_id(away: Worker, an_operator: Operator) -> str:
    return str(an_operator.deploy(away.worker_id)["deployment_id"])


@pytest.fixture(scope="module")
def caller(host: Worker, keyed: Callable[[str], Operator]) -> Callable[[Endpoint], str]:
    """The least credential that opens an endpoint."""
    keys = {access: str(keyed(role).bearer) for access, role in ROLES.items()}
    keys[Access.WORKER] = str(host.client.bearer)
    return lambda endpoint: keys.get(endpoint.access, "")


@pytest.mark.parametrize(("endpoint", "mode"), [*ALLOWED, *FORBIDDEN], ids=_named)
def test_the_answer_to_what_the_document_allows_or_forbids_is_documented(
    endpoint: Endpoint,
    mode: str,
    server: Server,
    host: Worker,
    away: Worker,
    deployment_id: str,
    caller: Callable[[Endpoint], str],
    thorough: bool,
) -> None:
    from tests.security.generated_calls import call_and_validate

    known = {"deployment_id": deployment_id} if "{deployment_id}" in endpoint.path else {}
    if "{worker_id}" in endpoint.path and endpoint.name != "remove_worker":
        known["worker_id"] = (host if endpoint.access is Access.WORKER else away).worker_id
    headers = {"Authorization": f"Bearer {caller(endpoint)}"} if caller(endpoint) else {}
    assert call_and_validate(server.url, endpoint, mode, known, headers, count=40 if thorough else 4) > 0
