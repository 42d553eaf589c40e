"""Looking up models and callers, and waiting for a change."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from muster.api.gateways import Caller, Replica, Routes, StartingModel
from muster.gateway.route_table import MAX_SECRET_LENGTH, RouteTable
from muster.gateway.trust import Trust
from tests.fixtures.event_loop import run
from tests.fixtures.waiting import PATIENCE


def caller(secret: str, key_id: str = "k", expires_at: float | None = None) -> Caller:
    return Caller(key_id, hashlib.sha256(secret.encode()).hexdigest(), "app", expires_at=expires_at)


def replica(deployment_id: str, model: str, worker_id: str = "w") -> Replica:
    return Replica(deployment_id, model, worker_id, worker_id, tunnel=True)


ROUTES = Routes(
    replicas=[replica("d1", "qwen"), replica("d2", "llama"), replica("d3", "qwen", "w2")],
    starting=[StartingModel("d4", "gemma", "starting")],
    callers=[caller("mst_key_one"), caller("mst_key_two", "k2", expires_at=200)],
    poll=2,
)


@pytest.fixture
def trust() -> Trust:
    made = Trust(86400)
    made.reached(100)
    return made


@pytest.fixture
def table(trust: Trust) -> RouteTable:
    made = RouteTable(trust)
    made.update(ROUTES)
    return made


def test_a_model_has_its_replicas_in_the_order_of_the_routes(table: RouteTable) -> None:
    assert [each.deployment_id for each in table.replicas("qwen")] == ["d1", "d3"]
    assert table.replicas("nothing") == () and table.replicas("gemma") == ()
    assert [each.status for each in table.starting("gemma")] == ["starting"]
    assert table.models() == ["llama", "qwen"]
    assert table.is_known("gemma") and not table.is_known("nothing")
    assert table.current.deployment_ids == {"d1", "d2", "d3"} and table.current.key_ids == {"k", "k2"}


def test_a_secret_finds_its_caller_and_no_other_text_does(table: RouteTable) -> None:
    found = table.caller("mst_key_one", 100)
    assert found is not None and found.key_id == "k"
    digest = ROUTES.callers[0].digest
    for secret in ("", "mst_key_on", "mst_key_one ", digest, "\ud800", "\x00", "x" * (MAX_SECRET_LENGTH + 1)):
        assert table.caller(secret, 100) is None


def test_a_digest_in_capitals_is_the_same(trust: Trust) -> None:
    table = RouteTable(trust)
    shouted = caller("mst_key_one")
    shouted.digest = shouted.digest.upper()
    table.update(Routes([], [], [shouted], 2))
    assert table.caller("mst_key_one", 100) is shouted


def test_a_key_ends_with_its_expiry_unless_the_control_plane_is_away_since_before(
    table: RouteTable, trust: Trust
) -> None:
    assert table.caller("mst_key_two", 199) and not table.caller("mst_key_two", 200)
    trust.failed("timed out")
    assert table.caller("mst_key_two", 200)
    trust.reached(210)
    assert not table.caller("mst_key_two", 210) and table.caller("mst_key_one", 210)


def test_a_revoked_gateway_has_no_models_and_no_callers(table: RouteTable, trust: Trust) -> None:
    trust.revoke("401")
    assert table.models() == [] and table.replicas("qwen") == () and table.starting("gemma") == ()
    assert table.caller("mst_key_one", 100) is None
    table.clear()
    assert not table.is_known("qwen")


def test_what_is_looked_up_stays_the_same_while_the_routes_change(table: RouteTable) -> None:
    before = table.current
    table.update(Routes([], [], [], 2))
    assert before.models == ("llama", "qwen") and table.current.models == ()
    with pytest.raises(TypeError):
        before.replicas["x"] = ()  # type: ignore[index]


def test_all_who_wait_for_a_change_wake(trust: Trust) -> None:
    async def wait() -> list[bool]:
        table = RouteTable(trust)
        waits = [asyncio.ensure_future(table.wait_change(PATIENCE)) for _ in range(3)]
        await asyncio.sleep(0)
        table.update(ROUTES)
        return await asyncio.gather(*waits)

    assert run(wait()) == [True, True, True]


def test_a_wait_ends_with_its_time_and_leaves_nothing(trust: Trust) -> None:
    async def wait() -> tuple[bool, int]:
        table = RouteTable(trust)
        cancelled = asyncio.ensure_future(table.wait_change(PATIENCE))
        changed = await table.wait_change(0)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        return changed, len(table._waiting)

    assert run(wait()) == (False, 0)


def test_observers_get_the_new_tables(table: RouteTable) -> None:
    seen: list[tuple[str, ...]] = []
    table.on_change(lambda tables: seen.append(tables.models))
    table.update(ROUTES)
    table.clear()
    assert seen == [("llama", "qwen"), ()]
