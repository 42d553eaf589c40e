"""The table of routes: what is open to whom, and that its lines agree with each other."""

from __future__ import annotations

import re

import pytest

from muster.api import messages as m
from muster.api.endpoints import BY_NAME, ENDPOINTS, Access, Endpoint


def test_only_what_must_be_open_is_open() -> None:
    assert {e.name for e in ENDPOINTS if e.access is Access.ANYONE} == {"register", "health", "openapi"}


def test_a_viewer_reads_everything_but_credentials() -> None:
    reads = {e.name for e in ENDPOINTS if e.method == "GET" and e.access > Access.VIEWER}
    assert reads == {"list_tokens", "list_keys"}
    assert not {e.name for e in ENDPOINTS if e.method != "GET" and e.access is Access.VIEWER}


def test_names_and_routes_are_each_there_once() -> None:
    assert len(BY_NAME) == len({(each.method, each.path) for each in ENDPOINTS}) == len(ENDPOINTS)


def test_a_role_opens_what_the_ones_below_it_open() -> None:
    assert Access.ANYONE < Access.WORKER < Access.VIEWER < Access.OPERATOR < Access.ADMIN


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.name)
def test_a_route_has_what_its_kind_needs(endpoint: Endpoint) -> None:
    assert endpoint.path.startswith("/api/") and endpoint.summary
    assert "{worker_id}" in endpoint.path or (not endpoint.own_worker and endpoint.access is not Access.WORKER)
    assert endpoint.method in ("POST", "PATCH") or endpoint.body is None
    assert endpoint.method == "POST" or not endpoint.idempotent
    assert "wait" in endpoint.query.__struct_fields__ if endpoint.query and endpoint.waits else not endpoint.waits


@pytest.mark.parametrize("endpoint", [each for each in ENDPOINTS if each.name in m.OUTPUTS], ids=lambda each: each.name)
def test_what_a_worker_is_asked_for_answers_with_its_output(endpoint: Endpoint) -> None:
    assert endpoint.waits and endpoint.answer is m.OUTPUTS[endpoint.name]


def test_every_operation_has_a_route() -> None:
    assert m.OUTPUTS.keys() <= BY_NAME.keys()


def test_a_parameter_of_a_path_is_there_once() -> None:
    for each in ENDPOINTS:
        names = re.findall(r"{(\w+)}", each.path)
        assert len(names) == len(set(names))
