"""Which route a path names."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.routes.matching import WITH_SLASHES, MethodNotAllowed, match
from muster.api.endpoints import ENDPOINTS
from muster.api.errors import ApiError

ROUTES = ["/", "/things", "/things/{one}", "/things/special", "/things/{one}/of/{other}"]


@pytest.mark.parametrize(
    ("path", "route", "captured"),
    [
        ("/", "/", {}),
        ("", "/", {}),
        ("/things", "/things", {}),
        ("/things/", "/things", {}),
        ("/things/x", "/things/{one}", {"one": "x"}),
        ("/things/x/of/y", "/things/{one}/of/{other}", {"one": "x", "other": "y"}),
        ("/things/a%2Fb", "/things/{one}", {"one": "a%2Fb"}),
        ("/things/..", "/things/{one}", {"one": ".."}),
    ],
)
def test_a_path_names_a_route_and_its_parameters_stay_encoded(path: str, route: str, captured: dict[str, str]) -> None:
    assert match(ROUTES, path) == (route, captured)


WORKER = "/api/workers/{worker_id}"
SLASHED = [f"{WORKER}/models", f"{WORKER}/models/{{model}}", f"{WORKER}/images/pull", f"{WORKER}/images/{{image_id}}"]


@pytest.mark.parametrize(
    ("path", "route", "value"),
    [
        ("models/org%2Fbig", "models/{model}", "org%2Fbig"),
        ("models/org/big", "models/{model}", "org%2Fbig"),
        ("models/org/big/", "models/{model}", "org%2Fbig"),
        ("images/registry:5000/a/b:1", "images/{image_id}", "registry:5000%2Fa%2Fb:1"),
        ("images/a/b@sha256:00", "images/{image_id}", "a%2Fb@sha256:00"),
        ("images/pull/it", "images/{image_id}", "pull%2Fit"),
        ("images/a%20b/c", "images/{image_id}", "a%20b%2Fc"),
    ],
)
def test_a_name_whose_slashes_a_proxy_decoded_is_one_parameter(path: str, route: str, value: str) -> None:
    found, captured = match(SLASHED, f"/api/workers/w1/{path}")
    assert (found, captured.pop("worker_id")) == (f"{WORKER}/{route}", "w1")
    assert list(captured.values()) == [value]


@pytest.mark.parametrize(
    "path", ["models/a//b", "models/../b", "models/a/..", "models/a/./b", "other/a/b", "models//a"]
)
def test_a_step_up_or_a_gap_is_no_part_of_a_name(path: str) -> None:
    with pytest.raises(ApiError) as caught:
        match(SLASHED, f"/api/workers/w1/{path}")
    assert caught.value.error_code == "ROUTE_NOT_FOUND"


def test_no_route_of_the_api_is_taken_for_a_name() -> None:
    routes = list(dict.fromkeys(each.path for each in ENDPOINTS))
    for route in routes:
        assert match(routes, route)[0] == route
    ends = [route for route in routes if route.rpartition("/")[2] in WITH_SLASHES]
    assert len(ends) == len(WITH_SLASHES)
    longer = [route for end in ends for route in routes if route.startswith(f"{end}/")]
    assert longer == [], "what follows such a name would be taken for a part of it"


@pytest.mark.parametrize("path", ["//", "/thing", "/things//", "/things//of/y", "/things/x/of", "/a/things", "/Things"])
def test_a_path_that_no_route_has_is_not_found(path: str) -> None:
    with pytest.raises(ApiError) as caught:
        match(ROUTES, path)
    assert caught.value.error_code == "ROUTE_NOT_FOUND"


def test_a_literal_segment_is_taken_before_a_parameter() -> None:
    for routes in (ROUTES, list(reversed(ROUTES))):
        assert match(routes, "/things/special")[0] == "/things/special"


@given(st.text(min_size=1), st.text(min_size=1))
def test_whatever_was_encoded_is_one_parameter(one: str, other: str) -> None:
    one, other = (quote(each.encode("utf-8", "replace"), safe="") for each in (one, other))
    assert match(ROUTES, f"/things/{one}/of/{other}") == (ROUTES[-1], {"one": one, "other": other})


def test_a_method_that_a_route_has_not_is_told_which_it_has() -> None:
    error = MethodNotAllowed({"POST": None, "GET": None})
    assert (error.allowed, error.error_code, error.status) == ("GET, POST", "METHOD_NOT_ALLOWED", 405)
    assert error.message == "this route takes GET, POST"
