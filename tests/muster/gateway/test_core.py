"""The parts of a gateway, wired: what a change of the routes or of the keys moves, and what the end leaves."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from pathlib import Path

import pytest

from muster.api.gateways import Caller, Replica, Routes, TicketKey
from muster.gateway.access_lines import Access
from muster.gateway.config import GatewayConfig
from muster.gateway.core import Core
from muster.gateway.data_dir import DataDir, DataError
from tests.fixtures.event_loop import run
from tests.fixtures.routes_server import KEY, TICKET_KEY, RoutesServer, error, routes_server
from tests.fixtures.waiting import PATIENCE

SECRET = "mst_key_of_an_app"
ROUTES = Routes(
    [Replica("d", "qwen", "w", "gpu-1")],
    [],
    [Caller("k", hashlib.sha256(SECRET.encode()).hexdigest(), "app", rpm=1, tpd=100)],
    poll=0.5,
)


def config(folder: Path, plane: RoutesServer, key: str = KEY) -> GatewayConfig:
    return GatewayConfig("https://models.example", plane.url, key, folder)


def test_a_gateway_gets_all_that_it_needs_and_gives_back_what_it_counted(tmp_path: Path) -> None:
    written: list[str] = []

    async def live(plane: RoutesServer) -> None:
        core = Core(config(tmp_path, plane), write=written.append)
        assert core.start() is None
        assert await core.link.first_attempt() is None
        caller = core.table.caller(SECRET, time.time())
        assert caller is not None and dict(core.ticket_keys) == {1: TICKET_KEY}
        assert core.limits.admit(caller, time.time()).allowed and not core.limits.admit(caller, time.time()).allowed
        core.ledger.add("k", "qwen", "2026-12-01", requests=1, prompt_tokens=3)
        core.telemetry.circuit("d", True)
        core.access_log.put(Access(0, "r", "GET", "/v1/models", 200, 0.1))
        with plane.lock:
            plane.routes = Routes([], [], [], 0.5)
        assert await core.table.wait_change(PATIENCE)
        assert core.limits.count == 0 and b"muster_gateway_circuits_open 0.0" in core.telemetry.exposition()
        assert b"muster_gateway_control_plane_up 1.0" in core.telemetry.exposition()
        await core.stop()

    with routes_server() as plane:
        plane.routes = ROUTES
        run(live(plane))
        assert [(each.requests, each.prompt_tokens) for each in plane.reports[0].sums] == [(1, 3)]
        assert plane.gone == ["gateway-1"] and json.loads(written[0])["request_id"] == "r"


def test_a_restart_starts_from_what_was_kept_and_what_the_day_has_used(tmp_path: Path) -> None:
    async def live(plane: RoutesServer) -> None:
        first = Core(config(tmp_path, plane))
        first.start()
        assert await first.link.first_attempt() is None
        first.ledger.add("k", "qwen", time.strftime("%Y-%m-%d", time.gmtime()), prompt_tokens=100)
        await first.stop()
        with plane.lock:
            away = ("POST /api/gateways", "GET /api/gateway/routes")
            plane.say = {path: lambda: error(503, "UNAVAILABLE") for path in away}
        second = Core(config(tmp_path, plane))
        kept = second.start()
        assert kept is not None and second.table.models() == ["qwen"] and dict(second.ticket_keys) == {1: TICKET_KEY}
        caller = second.table.caller(SECRET, time.time())
        assert caller is not None and second.limits.admit(caller, time.time()).limit == "tpd"
        await second.stop()

    with routes_server() as plane:
        plane.routes = ROUTES
        run(live(plane))


def test_observers_of_ticket_keys_see_the_new_ones(tmp_path: Path) -> None:
    seen: list[list[int]] = []

    async def live(plane: RoutesServer) -> None:
        core = Core(config(tmp_path, plane))
        core.on_ticket_keys(lambda: seen.append(sorted(core.ticket_keys)))
        core.start()
        await core.link.first_attempt()
        await core.stop()

    with routes_server() as plane:
        plane.ticket_keys = [TicketKey(3, TICKET_KEY), TicketKey(4, TICKET_KEY)]
        run(live(plane))
    assert seen == [[3, 4]]


def test_a_revoked_gateway_knows_it_and_forgets_its_keys(tmp_path: Path) -> None:
    async def live(plane: RoutesServer) -> None:
        core = Core(config(tmp_path, plane, key="mst_key_other"))
        core.start()
        await core.is_revoked.wait()
        assert dict(core.ticket_keys) == {} and not core.trust.serves()
        await core.stop()

    with routes_server() as plane:
        run(live(plane))


def test_a_folder_is_free_again_after_a_start_that_failed(tmp_path: Path) -> None:
    with routes_server() as plane:
        (tmp_path / "ledger.sqlite3").mkdir()
        with pytest.raises(DataError):
            Core(config(tmp_path, plane))
        DataDir(tmp_path).close()
        (tmp_path / "ledger.sqlite3").rmdir()
        core = Core(config(tmp_path, plane))
        with pytest.raises(DataError, match="another gateway"):
            Core(config(tmp_path, plane))
        core.close()
        Core(config(tmp_path, plane)).close()


def test_a_stop_right_after_the_start_ends(tmp_path: Path) -> None:
    async def live(plane: RoutesServer) -> None:
        core = Core(config(tmp_path, plane))
        core.start()
        await asyncio.sleep(0)
        await core.stop()

    with routes_server() as plane:
        run(live(plane))
