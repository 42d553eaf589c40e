"""API Gateway's part of a local request: which route a path is, and which methods that has."""

from __future__ import annotations

import pytest
from chalice.app import Chalice
from chalice.config import Config

from chalicelib.routes.matching import MethodNotAllowed
from infra.local.lambda_events import Gateway, Routes
from muster.api.errors import ApiError

PATHS = ["/things", "/things/{thing}", "/things/first"]


@pytest.fixture
def gateway() -> Gateway:
    app = Chalice("tiny")
    app.route("/things", methods=["GET", "POST"])(dict)
    app.route("/things/{thing}", methods=["DELETE"], name="one")(dict)
    return Gateway(app, Config.create(app_name="tiny"))


def test_a_path_is_matched_as_it_was_sent() -> None:
    found = Routes(PATHS).match_route("/things/a%2Fb")
    assert (found.route, found.captured) == ("/things/{thing}", {"thing": "a%2Fb"})
    assert Routes(PATHS).match_route("/things/first").route == "/things/first"


def test_a_query_has_every_value_of_a_name_and_empty_ones() -> None:
    assert Routes(PATHS).match_route("/things?a=1&a=2&b=").query_params == {"a": ["1", "2"], "b": [""]}


def test_an_unknown_path_is_not_found(gateway: Gateway) -> None:
    with pytest.raises(ApiError) as refused:
        gateway.check("GET", "/nothing")
    assert refused.value.error_code == "ROUTE_NOT_FOUND"


def test_a_method_that_a_route_lacks_is_refused_with_those_that_it_has(gateway: Gateway) -> None:
    gateway.check("GET", "/things?a=1")
    gateway.check("DELETE", "/things/a")
    with pytest.raises(MethodNotAllowed) as refused:
        gateway.check("DELETE", "/things")
    assert set(refused.value.allowed.split(", ")) == {"GET", "POST"}
