"""The first admin key: made where no admin has one, whatever an index that lags behind says."""

from __future__ import annotations

from chalicelib import tokens
from chalicelib.contract import resources as r
from chalicelib.contract.endpoints import Access
from tests.fixtures.plane_world import ADMIN, PlaneWorld, lines


def first(world: PlaneWorld) -> r.ApiKey | None:
    return tokens.first_admin_key("first", ADMIN, world.now)


def test_it_is_an_admins_and_made_once(world: PlaneWorld) -> None:
    made = first(world)
    assert made is not None and isinstance(made.key, str)
    principal = tokens.api_key(made.key)
    assert principal is not None and principal.access is Access.ADMIN
    assert first(world) is None
    assert [each.name for each in tokens.list_keys(r.PageQuery()).api_keys] == ["first"]


def test_there_is_no_need_for_it_beside_another_admins(world: PlaneWorld) -> None:
    for i in range(120):  # more than a page of the list
        tokens.create_key(r.NewApiKey(f"viewer {i}", "viewer"), ADMIN, world.now)
    other = tokens.create_key(r.NewApiKey("anna", "admin"), ADMIN, world.now + 1)
    assert first(world) is None
    tokens.revoke_key(other.key_id, ADMIN, world.now)
    assert first(world) is not None


def test_once_it_is_revoked_another_may_be_made(world: PlaneWorld) -> None:
    made = first(world)
    assert made is not None
    tokens.revoke_key(made.key_id, ADMIN, world.now)
    again = first(world)
    assert again is not None and again.key_id != made.key_id


def test_the_timeline_says_who_made_it(world: PlaneWorld) -> None:
    made = first(world)
    assert made is not None
    (line,) = lines(world)
    assert (line.message, line.by, line.key_id) == ("first, admin", ADMIN.label, made.key_id)
