"""What operators may send: a typo is seen, and what identifies or waits has its bounds."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from muster.api import resources as r
from muster.api.endpoints import ENDPOINTS, Access

BODIES = sorted(
    {each.body for each in ENDPOINTS if each.body and each.access >= Access.VIEWER} | {r.Nothing},
    key=lambda each: each.__name__,
)


def refusal(value: object, type_: Any, *, strict: bool = True) -> str | None:
    """What is wrong with it; None where nothing is."""
    try:
        msgspec.convert(value, type_, strict=strict)
    except msgspec.ValidationError as error:
        return str(error)
    return None


@pytest.mark.parametrize("body", BODIES, ids=lambda each: each.__name__)
def test_a_body_of_an_operator_refuses_fields_that_it_does_not_have(body: type[Struct]) -> None:
    assert body.__struct_config__.forbid_unknown_fields


@pytest.mark.parametrize("name", ["a", "chat-7B_v1.5", "x" * 63])
def test_a_deployments_name_is_taken(name: str) -> None:
    assert refusal({"model": "m", "name": name}, r.NewDeployment) is None


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a\n", "a/b", "é", "x" * 64])
def test_what_is_no_deployments_name_is_refused(name: str) -> None:
    assert "$.name" in str(refusal({"model": "m", "name": name}, r.NewDeployment))


@pytest.mark.parametrize("gpus", [0, 64, [0, 63], []])
def test_gpus_are_a_number_or_indexes(gpus: object) -> None:
    assert refusal({"model": "m", "gpus": gpus}, r.NewDeployment) is None


@pytest.mark.parametrize("gpus", [-1, 65, [64], [-1], 1.5, True, "two", None])
def test_gpus_that_no_host_has_are_refused(gpus: object) -> None:
    assert "$.gpus" in str(refusal({"model": "m", "gpus": gpus}, r.NewDeployment))


def test_one_gpu_is_meant_where_nothing_is_said() -> None:
    assert msgspec.convert({"model": "m"}, r.NewDeployment).gpus == 1


@pytest.mark.parametrize(
    ("query", "type_", "name"),
    [
        ({"wait": "25.1"}, r.WaitQuery, "wait"),
        ({"wait": "-1"}, r.PullQuery, "wait"),
        ({"wait": "nan"}, r.WaitQuery, "wait"),
        ({"limit": "0"}, r.PageQuery, "limit"),
        ({"limit": str(r.MAX_PAGE + 1)}, r.PageQuery, "limit"),
        ({"next_token": "x" * 1025}, r.PageQuery, "next_token"),
        ({"after": "x" * 8193}, r.EventsQuery, "after"),
        ({"lines": "10001"}, r.LogsQuery, "lines"),
        ({"status": "banana"}, r.DeploymentsQuery, "status"),
    ],
)
def test_a_query_beyond_its_bounds_is_refused_by_name(query: dict[str, str], type_: Any, name: str) -> None:
    assert f"$.{name}" in str(refusal(query, type_, strict=False))


def test_a_read_waits_and_a_pull_does_not_unless_it_is_told_to() -> None:
    assert (r.WaitQuery().wait, r.LogsQuery().wait, r.PullQuery().wait) == (25, 25, 0)


def test_a_patch_tells_what_is_given_from_what_is_null() -> None:
    patch = msgspec.convert({"address": None}, r.WorkerPatch)
    assert (patch.address, patch.labels, patch.draining) == (None, msgspec.UNSET, msgspec.UNSET)


@pytest.mark.parametrize(
    ("body", "field"),
    [({"max_uses": 0}, "max_uses"), ({"expires_in": 0}, "expires_in"), ({"expires_in": 31536001}, "expires_in")],
)
def test_a_registration_token_of_impossible_terms_is_refused(body: dict[str, int], field: str) -> None:
    assert f"$.{field}" in str(refusal(body, r.NewRegistrationToken))


def test_a_secret_that_is_not_shown_is_not_even_a_field() -> None:
    shown = r.ApiKey("id", "name", "viewer", datetime(2026, 1, 1, tzinfo=timezone.utc))
    assert "key" not in msgspec.to_builtins(shown)
