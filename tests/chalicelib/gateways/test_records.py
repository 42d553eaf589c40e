"""The gateways that registered lately: renewed, gone, revoked, and read once a minute."""

from __future__ import annotations

import pytest

from chalicelib.auth import tokens
from chalicelib.gateways import records
from chalicelib.gateways.records import CACHE_SECONDS, GONE_SECONDS, GatewayCache
from muster.api import gateways as g
from muster.api.errors import ApiError
from tests.chalicelib.gateways.conftest import gateway_key
from tests.fixtures.plane_world import ADMIN, PlaneWorld

URL = "https://models.example.com"


def register(world: PlaneWorld, url: str = URL, name: str = "edge") -> g.GatewayRegistered:
    return records.register(g.GatewayRegistration(url, "0.2.0"), gateway_key(world, name), world.now)


def urls(world: PlaneWorld) -> list[str]:
    return [gateway.url for gateway in records.shown(world.now).gateways]


def test_a_gateway_is_listed_while_it_renews_its_registration(world: PlaneWorld) -> None:
    by = gateway_key(world)
    first = records.register(g.GatewayRegistration(URL + "/"), by, world.now)
    world.pass_(GONE_SECONDS - 1)
    assert records.register(g.GatewayRegistration(URL), by, world.now).gateway_id == first.gateway_id
    world.pass_(GONE_SECONDS - 1)
    assert urls(world) == [URL]
    world.pass_(1)
    assert urls(world) == []


def test_two_gateways_of_one_key_and_two_keys_of_one_url_are_not_the_same(world: PlaneWorld) -> None:
    by = gateway_key(world)
    ids = {records.register(g.GatewayRegistration(url), by, world.now).gateway_id for url in (URL, "https://two")}
    ids.add(register(world, name="other").gateway_id)
    assert len(ids) == 3 and sorted(urls(world)) == [URL, URL, "https://two"]


def test_a_goodbye_ends_it_and_anothers_does_not(world: PlaneWorld) -> None:
    by, other = gateway_key(world), gateway_key(world, "other")
    made = records.register(g.GatewayRegistration(URL), by, world.now)
    records.say_goodbye(made.gateway_id, other)
    records.say_goodbye("unknown", by)
    assert urls(world) == [URL]
    records.say_goodbye(made.gateway_id, by)
    assert urls(world) == []


def test_a_key_that_is_revoked_takes_its_gateways_with_it(world: PlaneWorld) -> None:
    by = gateway_key(world)
    records.register(g.GatewayRegistration(URL), by, world.now)
    register(world, "https://two", "other")
    tokens.revoke_key(by.id, ADMIN, world.now)
    assert urls(world) == ["https://two"], "also where the function was killed before it forgot them"
    records.forget_key(by.id)
    assert [record.url for record in records.listed()] == ["https://two"]


def test_a_process_reads_the_list_once_a_minute(world: PlaneWorld) -> None:
    register(world)
    cache = GatewayCache()
    cache.current(world.now)
    before = len(world.database.calls)
    for _ in range(50):
        assert [record.url for record in cache.current(world.now + CACHE_SECONDS - 1)] == [URL]
    assert len(world.database.calls) == before
    register(world, "https://two", "other")
    assert len(cache.current(world.now + CACHE_SECONDS)) == 2
    assert cache.current(world.now + CACHE_SECONDS + GONE_SECONDS) == []


def test_a_renewal_is_three_calls_of_the_database(world: PlaneWorld) -> None:
    by = gateway_key(world)
    records.register(g.GatewayRegistration(URL), by, world.now)
    before = len(world.database.calls)
    records.register(g.GatewayRegistration(URL), by, world.now + 30)
    assert [name for name, _ in world.database.calls[before:]] == ["GetItem", "PutItem"]


@pytest.mark.parametrize("url", ["https://me@host", "https://host?x=1", "https://host#x"])
def test_a_url_that_no_worker_could_dial_is_refused(world: PlaneWorld, url: str) -> None:
    with pytest.raises(ApiError, match="url"):
        register(world, url)
