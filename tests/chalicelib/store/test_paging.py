"""Pages of a list: everything once and in order, and no token but its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.auth import tokens
from chalicelib.store import paging
from chalicelib.store.tables import Credential, Deployment, WorkerRecord
from muster.api import resources as r
from muster.api.errors import ApiError
from tests.fixtures.plane_world import ADMIN, PlaneWorld

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)


def names(world: PlaneWorld, limit: int, keep: str = "") -> list[list[str]]:
    """The pages of deployments whose name contains `keep`."""
    pages, query = list[list[str]](), r.PageQuery(limit)
    while True:
        found, query.next_token = paging.page(Deployment, "deployment", query, lambda item: keep in item.name)
        pages.append([item.name for item in found])
        if query.next_token is None:
            return pages


@pytest.fixture
def seven(world: PlaneWorld) -> PlaneWorld:
    """Deployments a to g, made in this order."""
    for name in "abcdefg":
        world.pass_(1)
        world.deploy(name=name)
    return world


@given(st.dictionaries(TEXT, TEXT, min_size=1, max_size=3))
def test_a_token_is_read_as_it_was_written(key: dict[str, str]) -> None:
    written = {name: {"S": value} for name, value in key.items()}
    token = paging.encode(written)
    assert token is not None and token.isascii()
    assert paging.decode(token, key.keys()) == written


def test_no_key_is_no_token() -> None:
    assert paging.encode(None) is None
    assert paging.decode(None, []) is paging.decode("", []) is None


@pytest.mark.parametrize("token", ["nonsense", "é", "e30=", "W10=", "bnVsbA==", "eyJhIjoxfQ=="])
def test_a_token_that_was_made_up_is_refused(token: str) -> None:
    with pytest.raises(ApiError, match="next_token") as caught:
        paging.decode(token, ["deployment_id", "kind", "rank"])
    assert caught.value.error_code == "INVALID_REQUEST"


def test_a_token_of_another_list_is_refused(seven: PlaneWorld) -> None:
    tokens.create_key(r.NewApiKey("ci", "viewer"), ADMIN, seven.now)
    for model, kind in ((Credential, "key"), (WorkerRecord, "worker")):
        _, token = paging.page(Deployment, "deployment", r.PageQuery(1))
        with pytest.raises(ApiError, match="next_token"):
            paging.page(model, kind, r.PageQuery(1, token))
    _, token = paging.page(Credential, "key", r.PageQuery(1))
    with pytest.raises(ApiError, match="next_token"):
        paging.page(Credential, "registration", r.PageQuery(1, token))


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8, 500])
def test_pages_have_everything_once_in_order(seven: PlaneWorld, limit: int) -> None:
    pages = names(seven, limit)
    assert [name for page in pages for name in page] == list("abcdefg")
    assert all(len(page) == limit for page in pages[:-1]) and len(pages[-1]) <= limit


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_a_page_is_filled_with_what_is_kept(seven: PlaneWorld, limit: int) -> None:
    for n in range(3):
        seven.deploy(name=f"kept-{n}")
        seven.pass_(1)
    pages = names(seven, limit, keep="kept")
    assert [name for page in pages for name in page] == ["kept-0", "kept-1", "kept-2"]
    assert all(len(page) == limit for page in pages[:-1])


def test_a_list_of_nothing_is_one_empty_page(world: PlaneWorld) -> None:
    assert names(world, 5) == [[]]
