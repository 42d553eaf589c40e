"""Each function may do what it does, and nothing else: its calls, recorded, against the policy that is deployed."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from infra.cloud.access import policy
from tests.fixtures import ROOT
from tests.fixtures.database import DATABASE
from tests.fixtures.plane_world import PlaneWorld
from tests.infra.cloud import iam
from tests.infra.cloud.coverage_driver import DRIVES
from tests.infra.cloud.recorder import Listener, Need

PREFIX = "muster-prod-"


@pytest.fixture(scope="module")
def needed() -> set[Need]:
    """What the functions did in the database while every route was asked and every rule of the sweep applied."""
    found: set[Need] = set()
    for drive in DRIVES:
        with DATABASE.in_memory() as database:
            listener = Listener(database)
            drive(PlaneWorld(database))
            found |= listener.needs
    return found


@pytest.fixture
def policies() -> dict[str, dict[str, Any]]:
    return {function: policy(function, f"muster-prod-{function}") for function in ("api_handler", "expire")}


def granted(policies: dict[str, dict[str, Any]]) -> set[Need]:
    before = iam.table("", PREFIX)
    return {
        (function, action.removeprefix("dynamodb:"), iam.resource(statement, TablePrefix=PREFIX).removeprefix(before))
        for function, document in policies.items()
        for statement in document["Statement"]
        for action in statement["Action"]
        if action.startswith("dynamodb:")
    }


def denied(needed: set[Need], policies: dict[str, dict[str, Any]]) -> set[Need]:
    return {
        need
        for need in needed
        if not iam.allows(policies[need[0]], f"dynamodb:{need[1]}", iam.table(need[2], PREFIX), TablePrefix=PREFIX)
    }


def test_what_is_granted_is_what_is_needed(needed: set[Need], policies: dict[str, dict[str, Any]]) -> None:
    assert granted(policies) == needed
    assert denied(needed, policies) == set()


def test_whatever_is_taken_away_is_denied(needed: set[Need], policies: dict[str, dict[str, Any]]) -> None:
    taken = 0
    for function, document in policies.items():
        for i, statement in enumerate(document["Statement"]):
            for action in statement["Action"]:
                if not action.startswith("dynamodb:"):
                    continue
                less = copy.deepcopy(policies)
                less[function]["Statement"][i]["Action"].remove(action)
                assert len(denied(needed, less)) == 1, (function, action, statement["Resource"])
                taken += 1
    assert taken == len(needed)


@pytest.mark.parametrize(
    ("action", "on", "prefix"),
    [
        ("DeleteTable", "events", PREFIX),
        ("Scan", "credentials", PREFIX),
        ("GetItem", "events", PREFIX),
        ("Query", "credentials", PREFIX),
        ("PutItem", "heartbeats", "muster-"),
        ("PutItem", "heartbeats", "muster-staging-"),
    ],
)
def test_what_nothing_does_is_denied(action: str, on: str, prefix: str, policies: dict[str, dict[str, Any]]) -> None:
    for document in policies.values():
        assert not iam.allows(document, f"dynamodb:{action}", iam.table(on, prefix), TablePrefix=PREFIX)


@pytest.mark.parametrize(
    ("action", "on", "allowed"),
    [
        ("GetObject", f"{iam.BUCKET}/wheels/docker-7-py3-none-any.whl", True),
        ("GetObject", f"{iam.BUCKET}/prod/0123.zip", False),
        ("GetObject", f"{iam.BUCKET}/prod/wheels/0123.json", False),
        ("GetObject", "muster-artefacts-123456789012-eu-west-1/wheels/docker-7-py3-none-any.whl", False),
        ("PutObject", f"{iam.BUCKET}/wheels/docker-7-py3-none-any.whl", False),
        ("ListBucket", iam.BUCKET, False),
    ],
)
def test_only_the_apis_function_reads_the_bucket_and_only_the_wheels(
    action: str, on: str, allowed: bool, policies: dict[str, dict[str, Any]]
) -> None:
    for function, document in policies.items():
        found = iam.allows(document, f"s3:{action}", f"arn:aws:s3:::{on}", TablePrefix=PREFIX)
        assert found == (allowed and function == "api_handler")


def test_a_log_is_written_by_the_function_that_it_is_of(policies: dict[str, dict[str, Any]]) -> None:
    logs = "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/lambda/muster-prod-"
    for function, document in policies.items():
        for action in ("CreateLogStream", "PutLogEvents"):
            for of in policies:
                allowed = iam.allows(document, f"logs:{action}", f"{logs}{of}:log-stream:1", TablePrefix=PREFIX)
                assert allowed == (of == function)


def test_the_files_for_chalice_deploy_say_the_same() -> None:
    from infra.cloud.access import files

    for name, text in files().items():
        assert (ROOT / ".chalice" / name).read_text() == text, f"python -m infra.cloud.access writes {name}"
