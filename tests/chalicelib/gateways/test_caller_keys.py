"""API keys of callers: who makes them, what they open, and when gateways know of them."""

from __future__ import annotations

import pytest

from chalicelib.auth import access, tokens
from chalicelib.auth.tokens import Principal
from chalicelib.gateways import caller_keys
from chalicelib.gateways.caller_keys import CACHE_SECONDS, CallerKeys
from muster.api import resources as r
from muster.api.endpoints import BY_NAME, Access
from muster.api.errors import ApiError
from tests.fixtures.plane_world import ADMIN, PlaneWorld

OPERATOR = Principal("key op", Access.OPERATOR, "op")


def make(world: PlaneWorld, name: str = "app", by: Principal = ADMIN, **limits: object) -> r.ApiKey:
    return tokens.create_key(r.NewApiKey(name, "caller", **limits), by, world.now)  # type: ignore[arg-type]


def test_a_key_that_was_made_or_revoked_here_is_known_at_once(world: PlaneWorld) -> None:
    keys = CallerKeys()
    assert keys.current(world.now) == []
    made = make(world)
    assert [caller.name for caller in keys.current(world.now)] == ["app"]
    tokens.revoke_key(made.key_id, ADMIN, world.now)
    assert keys.current(world.now) == []


def test_the_keys_are_read_again_after_a_moment_and_not_before(world: PlaneWorld) -> None:
    keys = CallerKeys()
    keys.current(world.now)
    before = len(world.database.calls)
    keys.current(world.now + CACHE_SECONDS - 0.1)
    assert len(world.database.calls) == before
    keys.current(world.now + CACHE_SECONDS)
    assert len(world.database.calls) > before


def test_limits_and_expiry_are_kept_and_shown(world: PlaneWorld) -> None:
    made = make(world, models=["b", "a", "a"], rpm=1, tpm=2, tpd=3, expires_in=60)
    (caller,) = caller_keys.current(world.now)
    assert (caller.models, caller.rpm, caller.tpm, caller.tpd) == (["a", "b"], 1, 2, 3)
    assert caller.expires_at == world.now + 60
    (listed,) = tokens.list_keys(r.KeysQuery(role="caller"), OPERATOR).api_keys
    assert (listed.key_id, listed.models, listed.rpm) == (made.key_id, ["a", "b"], 1)


@pytest.mark.parametrize("limit", [{"rpm": 1}, {"tpm": 1}, {"tpd": 1}, {"models": ["m"]}, {"expires_in": 60}])
def test_only_callers_have_limits(world: PlaneWorld, limit: dict[str, object]) -> None:
    with pytest.raises(ApiError, match="role caller"):
        tokens.create_key(r.NewApiKey("ci", "viewer", **limit), ADMIN, world.now)  # type: ignore[arg-type]


def test_operators_manage_callers_keys_and_no_others(world: PlaneWorld) -> None:
    made = make(world, by=OPERATOR)
    tokens.revoke_key(made.key_id, OPERATOR, world.now)
    admins = tokens.create_key(r.NewApiKey("ci", "viewer"), ADMIN, world.now)
    for act in (
        lambda: tokens.create_key(r.NewApiKey("x", "viewer"), OPERATOR, world.now),
        lambda: tokens.create_key(r.NewApiKey("x", "gateway"), OPERATOR, world.now),
        lambda: tokens.list_keys(r.KeysQuery(), OPERATOR),
        lambda: tokens.list_keys(r.KeysQuery(role="gateway"), OPERATOR),
        lambda: tokens.revoke_key(admins.key_id, OPERATOR, world.now),
    ):
        with pytest.raises(ApiError) as error:
            act()
        assert error.value.error_code == "FORBIDDEN"


def test_the_list_of_release_0_1_0_has_the_roles_that_it_knows(world: PlaneWorld) -> None:
    make(world)
    for role in ("viewer", "operator", "admin", "gateway"):
        tokens.create_key(r.NewApiKey(role, role), ADMIN, world.now)
    listed = tokens.list_keys(r.KeysQuery(), ADMIN).api_keys
    assert {key.role for key in listed} == {"viewer", "operator", "admin"}
    assert [key.name for key in tokens.list_keys(r.KeysQuery(role="gateway"), ADMIN).api_keys] == ["gateway"]


@pytest.mark.parametrize("role", ["caller", "gateway"])
def test_a_callers_key_opens_nothing_here_and_a_gateways_only_its_routes(world: PlaneWorld, role: r.Role) -> None:
    secret = str(tokens.create_key(r.NewApiKey("x", role), ADMIN, world.now).key)
    opened = set()
    for endpoint in BY_NAME.values():
        if endpoint.access is Access.ANYONE:
            continue
        try:
            access.principal(secret, endpoint, None, world.now)
        except ApiError as error:
            assert error.error_code == "FORBIDDEN"
        else:
            opened.add(endpoint.name)
    gateways = {"register_gateway", "leave_gateway", "gateway_routes", "report_usage"}
    assert opened == (gateways if role == "gateway" else set())


def test_no_other_key_opens_the_routes_of_gateways(world: PlaneWorld) -> None:
    secret = str(tokens.create_key(r.NewApiKey("x", "admin"), ADMIN, world.now).key)
    with pytest.raises(ApiError, match="the role gateway"):
        access.principal(secret, BY_NAME["gateway_routes"], None, world.now)


def test_keys_that_are_known_are_not_read_again(world: PlaneWorld) -> None:
    """Other functions make and revoke keys: this one looks at the list, and reads what is new in it."""
    keys, made = CallerKeys(), [make(world, f"app-{number}") for number in range(3)]
    keys.current(world.now)
    tokens.revoke_key(made[0].key_id, ADMIN, world.now)
    tokens.CALLERS_CHANGED.count -= 1
    make(world, "new")
    tokens.CALLERS_CHANGED.count -= 1
    world.pass_(CACHE_SECONDS)
    with world.database.counting() as calls:
        assert {caller.name for caller in keys.current(world.now)} == {"app-1", "app-2", "new"}
    assert [operation for operation, _ in calls] == ["Query", "BatchGetItem"]
    ((_, asked),) = [call for call in calls if call[0] == "BatchGetItem"]
    ((table, request),) = asked["RequestItems"].items()
    assert table.endswith("credentials") and len(request["Keys"]) == 1
    world.pass_(CACHE_SECONDS)
    with world.database.counting() as calls:
        keys.current(world.now)
    assert [operation for operation, _ in calls] == ["Query"]
