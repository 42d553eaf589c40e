"""The API against its own document, by schemathesis: what it generates from /api/openapi.json is sent to a real server.

Every operation is called as whoever its document admits, with what the document allows and with what it forbids. The
answer must be documented in status, content type and body; what is forbidden must be refused, and so must be a call
without its credential. The choices are made from a fixed seed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from chalicelib.contract.endpoints import ENDPOINTS, Access, Endpoint
from chalicelib.contract.openapi import document
from chalicelib.settings import VERSION
from tests.fixtures.http_client import Client, Operator
from tests.fixtures.http_workers import Worker
from tests.fixtures.served import Server

SEED = 20_240_101
# Parameters that no route knows are ignored, as the document of a newer API may have more of them.
CONFIG = schemathesis.Config.from_dict({"generation": {"allow-extra-parameters": False}})
SCHEMA = schemathesis.openapi.from_dict(document(VERSION), config=CONFIG)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    ignored_auth,
]
ROLES = {Access.VIEWER: "viewer", Access.OPERATOR: "operator", Access.ADMIN: "admin"}


def _takes_something(endpoint: Endpoint) -> bool:
    return bool(endpoint.body or endpoint.query or endpoint.idempotent or "{" in endpoint.path)


def _named(value: Endpoint | GenerationMode) -> str:
    return value.name if isinstance(value, Endpoint) else value.value


ALLOWED = [(endpoint, GenerationMode.POSITIVE) for endpoint in ENDPOINTS]
FORBIDDEN = [(endpoint, GenerationMode.NEGATIVE) for endpoint in ENDPOINTS if _takes_something(endpoint)]


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
def test_what_the_document_generates(
    endpoint: Endpoint,
    mode: GenerationMode,
    server: Server,
    host: Worker,
    away: Worker,
    deployment_id: str,
    caller: Callable[[Endpoint], str],
    thorough: bool,
) -> None:
    operation = SCHEMA[endpoint.path][endpoint.method]
    known = {"deployment_id": deployment_id} if "{deployment_id}" in endpoint.path else {}
    if "{worker_id}" in endpoint.path and endpoint.name != "remove_worker":
        known["worker_id"] = (host if endpoint.access is Access.WORKER else away).worker_id
    headers = {"Authorization": f"Bearer {caller(endpoint)}"} if caller(endpoint) else {}

    @seed(SEED)
    @settings(
        max_examples=40 if thorough else 4,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(mode, path_parameters=known))
    def run(case: Any) -> None:
        case.call_and_validate(base_url=server.url, headers=headers, checks=CHECKS, timeout=40)

    run()
