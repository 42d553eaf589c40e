"""Which workers are told of gateways, when, and with which tickets; an idle heartbeat pays nothing for it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET

from chalicelib.gateways import records, ticket_keys, worker_gateways
from chalicelib.workers import admin
from muster.api import gateways as g
from muster.api import messages as m
from muster.api import resources as r
from muster.api.errors import ApiError
from muster.api.tickets import read
from tests.chalicelib.gateways.conftest import gateway_key
from tests.fixtures.plane_world import ADMIN, PlaneWorld

URL = "https://models.example.com"


def gateway(world: PlaneWorld) -> dict[int, bytes]:
    """A gateway, and the keys that it has."""
    by = gateway_key(world)
    records.register(g.GatewayRegistration(URL), by, world.now)
    return {key.version: key.key for key in ticket_keys.of_gateway(by.id, world.now)}


def test_an_agent_that_knows_tunnels_is_told_at_registration_and_when_a_heartbeat_reconciles(world: PlaneWorld) -> None:
    keys = gateway(world)
    worker = world.worker(features=["tunnel"], boot_id="b")
    told = worker.answer.gateways
    assert isinstance(told, m.Gateways)
    claims = read(told.gateways[0].ticket, keys, URL)
    assert (claims.worker_id, claims.session) == (worker.id, worker.answer.session)
    assert (claims.issued, claims.expires - claims.issued, told.gateways[0].expires_in) == (world.now, 600.0, 600.0)
    assert isinstance(worker.beat().gateways, m.Gateways)


def test_other_clients_are_told_nothing(world: PlaneWorld) -> None:
    gateway(world)
    for features in (None, [], ["other"]):
        announced: dict[str, Any] = {} if features is None else {"features": features}
        worker = world.worker(f"w-{features}", boot_id="b", **announced)
        assert worker.answer.gateways is UNSET and worker.beat().gateways is UNSET
    basic = world.worker("basic")
    assert basic.answer.gateways is UNSET and basic.beat().gateways is UNSET


def test_an_agent_that_no_longer_announces_tunnels_is_no_longer_told(world: PlaneWorld) -> None:
    gateway(world)
    worker = world.worker(features=["tunnel"], boot_id="b")
    worker.register(features=[])
    assert worker.answer.gateways is UNSET and worker.beat().gateways is UNSET


def test_only_workers_with_the_labels_of_a_gateways_selector_are_told_of_it(world: PlaneWorld) -> None:
    by = gateway_key(world)
    for url, selector in ((URL, "site=lab,gpu=h200"), ("https://all", None)):
        records.register(g.GatewayRegistration(url, selector=selector), by, world.now)
    told = {}
    for name, labels in (("a", {"site": "lab", "gpu": "h200", "rack": "3"}), ("b", {"site": "lab"}), ("c", {})):
        worker = world.worker(name, features=["tunnel"], boot_id=name, labels=labels)
        assert isinstance(worker.answer.gateways, m.Gateways)
        told[name] = [gateway.url for gateway in worker.answer.gateways.gateways]
    assert told == {"a": ["https://all", URL], "b": ["https://all"], "c": ["https://all"]}


def test_a_gateway_with_another_selector_is_known_at_once(world: PlaneWorld) -> None:
    by = gateway_key(world)
    records.register(g.GatewayRegistration(URL), by, world.now)
    worker = world.worker(features=["tunnel"], boot_id="b")
    assert len(worker_gateways.of(worker.id, 1, world.now).gateways) == 1
    records.register(g.GatewayRegistration(URL, selector="site=lab"), by, world.now)
    assert worker_gateways.of(worker.id, 1, world.now).gateways == []


def test_a_gateway_whose_selector_is_none_is_refused(world: PlaneWorld) -> None:
    with pytest.raises(ApiError, match="expected NAME=VALUE"):
        records.register(g.GatewayRegistration(URL, selector="lab"), gateway_key(world), world.now)


def idle_heartbeats(world: PlaneWorld, **host: object) -> list[list[str]]:
    """The database calls of a worker's seventh to tenth heartbeat, which find nothing to do."""
    worker = world.worker(boot_id="b", **host)  # type: ignore[arg-type]
    worker.journal_id = "journal"
    for _ in range(3):
        inbox = worker.beat(inbox=0).inbox
        worker.beat(inbox=inbox)
    found = []
    for _ in range(4):
        before = len(world.database.calls)
        assert worker.beat(inbox=inbox).commands == []
        found.append([name for name, _ in world.database.calls[before:]])
    return found


def test_an_idle_heartbeat_costs_the_same_with_gateways_and_tunnels(world: PlaneWorld) -> None:
    *without, tenth_without = idle_heartbeats(world, name="a")
    gateway(world)
    records.CACHE.current(world.now)
    *idle, tenth = idle_heartbeats(world, name="b", features=["tunnel"])
    assert idle == without == [["UpdateItem"]] * 3
    assert tenth == [*tenth_without, "GetItem"], "a tenth one, which reconciles, reads whether the address is pinned"


def test_where_there_is_no_gateway_nothing_of_the_worker_is_read(world: PlaneWorld) -> None:
    worker_gateways.of("w", 1, world.now)
    before = len(world.database.calls)
    assert worker_gateways.of("w", 1, world.now) == m.Gateways()
    assert len(world.database.calls) == before


def test_a_worker_with_a_pinned_address_waits_two_polls_before_it_stops_a_model(world: PlaneWorld) -> None:
    gateway(world)
    worker = world.worker(features=["tunnel"], boot_id="b", address="10.0.0.7")
    assert worker_gateways.of(worker.id, 1, world.now).direct_wait == 0
    admin.patch(worker.id, r.WorkerPatch(address="10.0.0.8"), ADMIN, world.now)
    assert worker_gateways.of(worker.id, 1, world.now).direct_wait == 20.0
