"""Which route a path names."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.contract.errors import ApiError
from chalicelib.routes.matching import MethodNotAllowed, match

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


@pytest.mark.parametrize("path", ["//", "/thing", "/things//", "/things//of/y", "/things/x/of", "/a/things", "/Things"])
def test_a_path_that_no_route_has_is_not_found(path: str) -> None:
    with pytest.raises(ApiError) as caught:
        match(ROUTES, path)
    assert caught.value.error_code == "ROUTE_NOT_FOUND"


def test_the_first_of_several_routes_is_taken() -> None:
    assert match(ROUTES, "/things/special")[0] == "/things/{one}"
    assert match(reversed(ROUTES), "/things/special")[0] == "/things/special"


@given(st.text(min_size=1), st.text(min_size=1))
def test_whatever_was_encoded_is_one_parameter(one: str, other: str) -> None:
    one, other = (quote(each.encode("utf-8", "replace"), safe="") for each in (one, other))
    assert match(ROUTES, f"/things/{one}/of/{other}") == (ROUTES[-1], {"one": one, "other": other})


def test_a_method_that_a_route_has_not_is_told_which_it_has() -> None:
    error = MethodNotAllowed({"POST": None, "GET": None})
    assert (error.allowed, error.error_code, error.status) == ("GET, POST", "METHOD_NOT_ALLOWED", 405)
    assert error.message == "this route takes GET, POST"
