"""A gateway in contact with its control plane: what each answer changes, and what remains when none comes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from muster.api.gateways import Replica, Routes, TicketKey, UsageReport, UsageSum
from muster.gateway import plane_link
from muster.gateway.config import GatewayConfig
from muster.gateway.plane_client import PlaneClient, Refused
from muster.gateway.plane_link import LEAST_PAUSE, Pauses, PlaneLink
from muster.gateway.route_file import RouteFile
from muster.gateway.route_table import RouteTable
from muster.gateway.trust import State, Trust
from tests.fixtures.event_loop import run
from tests.fixtures.ports import free_port
from tests.fixtures.routes_server import KEY, TICKET_KEY, error, routes_server
from tests.fixtures.waiting import PATIENCE

URL = "https://models.example"
REGISTER, ROUTES, USAGE = "POST /api/gateways", "GET /api/gateway/routes", "POST /api/gateway/usage"
QWEN = Routes([Replica("d", "qwen", "w", "gpu-1")], [], [], poll=0.5)


@dataclass
class Usage:
    """`waiting` are reports that are not confirmed."""

    waiting: list[UsageReport] = field(default_factory=list)

    def reports(self) -> list[UsageReport]:
        return list(self.waiting)

    def confirm(self, report: UsageReport) -> None:
        confirmed = {(each.key_id, each.requests) for each in report.sums}
        for each in self.waiting:
            each.sums = [one for one in each.sums if (one.key_id, one.requests) not in confirmed]
        self.waiting = [each for each in self.waiting if each.sums]


class World:
    """A link, and all that it moves. Pauses are short; those of `rare` seconds and more last to the end."""

    def __init__(self, folder: Path, url: str, key: str = KEY, rare: float = 40.0) -> None:
        config = GatewayConfig(URL, url, key, folder)
        self.trust = Trust(86400)
        self.table = RouteTable(self.trust)
        self.file = RouteFile(folder / "routes.json", config)
        self.usage = Usage()
        self.keys: list[dict[int, bytes]] = []
        self.revoked: list[Refused] = []
        self.link = PlaneLink(
            url=URL,
            selector=None,
            make_client=lambda: PlaneClient(url, key),
            table=self.table,
            trust=self.trust,
            file=self.file,
            usage=self.usage,
            on_ticket_keys=self._keys,
            on_revoked=self.revoked.append,
            random=Random(1),
            sleep=lambda seconds: asyncio.sleep(0.01 if seconds < rare else PATIENCE),
        )

    def _keys(self, keys: Mapping[int, bytes]) -> None:
        self.keys.append(dict(keys))


async def until(look: Callable[[], Any], what: str = "") -> None:
    """Raises AssertionError after PATIENCE."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while not look():
        assert loop.time() < deadline, what or "waited too long"
        await asyncio.sleep(0.01)


def during(world: World, act: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        world.link.start()
        try:
            await act()
        finally:
            await world.link.stop()

    run(main())


def test_a_gateway_registers_gets_routes_and_says_goodbye(tmp_path: Path) -> None:
    with routes_server() as plane:
        plane.routes = QWEN
        world = World(tmp_path, plane.url)

        async def act() -> None:
            assert await world.link.first_attempt() is None
            assert world.trust.state is State.REACHABLE and world.table.models() == ["qwen"]
            assert world.keys == [{1: TICKET_KEY}]

        during(world, act)
        assert plane.gone == ["gateway-1"] and {each.url for each in plane.registered} == {URL}
        kept = world.file.read()
        assert kept is not None and kept.routes == QWEN and kept.ticket_keys == {1: TICKET_KEY}


def test_routes_are_polled_with_their_etag_and_a_change_arrives(tmp_path: Path) -> None:
    with routes_server() as plane:
        plane.routes = QWEN
        world = World(tmp_path, plane.url)

        async def act() -> None:
            await until(lambda: plane.count(ROUTES) >= 2)
            await until(world.table.models)
            current = world.table.current
            assert any("if-none-match" in headers for method, _, headers in plane.asked if method == "GET")
            assert world.table.current is current, "a 304 replaces nothing"
            with plane.lock:
                plane.routes = Routes([Replica("d", "llama", "w", "gpu-1")], [], [], 0.5)
            assert await world.table.wait_change(PATIENCE)
            assert world.table.models() == ["llama"]

        during(world, act)


def test_new_ticket_keys_replace_the_old_ones(tmp_path: Path) -> None:
    with routes_server() as plane:
        plane.renew_in = 0.0
        world = World(tmp_path, plane.url)

        async def act() -> None:
            await until(lambda: world.keys)
            with plane.lock:
                plane.ticket_keys = [TicketKey(1, TICKET_KEY), TicketKey(2, b"u" * 32)]
            await until(lambda: len(world.keys) == 2)
            assert world.keys[-1] == {1: TICKET_KEY, 2: b"u" * 32}
            await until(lambda: (kept := world.file.read()) and len(kept.ticket_keys) == 2)

        during(world, act)


def test_while_the_control_plane_is_away_the_last_routes_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with routes_server() as plane:
        plane.routes = QWEN
        world = World(tmp_path, plane.url)

        async def act() -> None:
            await until(world.table.models)
            with plane.lock:
                plane.say = {ROUTES: lambda: error(503, "UNAVAILABLE"), REGISTER: lambda: error(503, "UNAVAILABLE")}
            await until(lambda: world.trust.state is State.UNREACHABLE)
            await until(lambda: plane.count(ROUTES) >= 4)
            assert world.table.models() == ["qwen"]
            with plane.lock:
                plane.say = {}
            await until(lambda: world.trust.state is State.REACHABLE)

        during(world, act)
    lines = [each for each in caplog.messages if "reading the routes failed" in each]
    assert len(lines) == 1 and "503 UNAVAILABLE" in lines[0]


def test_a_gateway_that_starts_alone_serves_what_was_kept(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    before = World(tmp_path, url)
    before.file.write(1_000_000_000, QWEN, {1: TICKET_KEY})
    world = World(tmp_path, url)
    world.trust._offline_for = float("inf")

    async def act() -> None:
        kept = world.link.restore()
        assert kept is not None and kept.contact == 1_000_000_000
        assert world.table.models() == ["qwen"] and world.keys == [{1: TICKET_KEY}]
        problem = await world.link.first_attempt()
        assert problem is not None and "the connection was refused" in problem
        assert world.table.models() == ["qwen"] and world.trust.state is State.UNREACHABLE

    during(world, act)
    assert World(tmp_path / "other", url).link.restore() is None


@pytest.mark.parametrize("refusal", [(401, "UNAUTHENTICATED"), (403, "FORBIDDEN")])
@pytest.mark.parametrize("where", [REGISTER, ROUTES])
def test_a_refused_key_ends_all(tmp_path: Path, refusal: tuple[int, str], where: str) -> None:
    with routes_server() as plane:
        plane.routes = QWEN
        plane.renew_in = 0.0
        world = World(tmp_path, plane.url)

        async def act() -> None:
            await until(world.table.models)
            await until(lambda: world.keys and world.file.read())
            with plane.lock:
                plane.say[where] = lambda: error(*refusal, "no such key")
            await until(lambda: world.revoked)
            assert world.revoked[0].error_code == refusal[1]
            assert world.trust.state is State.REVOKED and world.table.current.models == ()
            assert world.keys[-1] == {} and world.file.read() is None
            assert "no such key" in str(world.revoked[0])

        during(world, act)
        assert plane.gone == [], "a goodbye would be refused"
        assert world.file.read() is None, "nothing that was under way wrote the routes again"


def test_a_key_that_was_never_good_is_known_after_the_first_attempt(tmp_path: Path) -> None:
    with routes_server() as plane:
        world = World(tmp_path, plane.url, key="mst_key_other")

        async def act() -> None:
            problem = await world.link.first_attempt()
            assert problem is not None and "401 UNAUTHENTICATED" in problem
            assert world.trust.state is State.REVOKED

        during(world, act)


def sums(*requests: int) -> UsageReport:
    return UsageReport("ledger", [UsageSum(f"k{count}", "qwen", "2026-12-01", count) for count in requests])


def test_usage_is_reported_and_confirmed(tmp_path: Path) -> None:
    with routes_server() as plane:
        world = World(tmp_path, plane.url, rare=100.0)
        world.usage.waiting = [sums(1, 2), sums(3)]

        async def act() -> None:
            await until(lambda: not world.usage.waiting)

        during(world, act)
        assert [len(each.sums) for each in plane.reports] == [2, 1]


def test_usage_that_nobody_takes_stays_until_somebody_does(tmp_path: Path) -> None:
    with routes_server() as plane:
        plane.say[USAGE] = lambda: error(503, "UNAVAILABLE")
        world = World(tmp_path, plane.url, rare=100.0)
        world.usage.waiting = [sums(1)]

        async def act() -> None:
            await until(lambda: plane.count(USAGE) >= 2)
            assert world.usage.waiting
            with plane.lock:
                plane.say.clear()
            await until(lambda: not world.usage.waiting)

        during(world, act)


def test_one_sum_that_is_not_taken_does_not_hold_up_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with routes_server() as plane:
        world = World(tmp_path, plane.url, rare=100.0)
        world.usage.waiting = [sums(1, 2, 3)]
        replies = [error(400, "INVALID_REQUEST")] * 2
        plane.say[USAGE] = lambda: replies.pop() if replies else error(200, "TAKEN")

        async def act() -> None:
            await until(lambda: not world.usage.waiting)

        during(world, act)
        assert plane.count(USAGE) == 4 and caplog.text.count("is dropped") == 1


def test_the_end_reports_what_is_left(tmp_path: Path) -> None:
    with routes_server() as plane:
        world = World(tmp_path, plane.url)

        async def act() -> None:
            await world.link.first_attempt()
            world.usage.waiting = [sums(1)]

        during(world, act)
        assert len(plane.reports) == 1 and plane.gone == ["gateway-1"]


def test_the_end_of_a_gateway_that_reaches_nobody_waits_for_nobody(tmp_path: Path) -> None:
    world = World(tmp_path, f"http://127.0.0.1:{free_port()}")
    world.usage.waiting = [sums(1)]

    async def act() -> None:
        await world.link.first_attempt()

    during(world, act)
    assert world.usage.waiting


def test_pauses_grow_with_failures_and_jump_about() -> None:
    pauses = Pauses(Random(1))
    many = [pauses.after_failure() for _ in range(200)]
    assert all(LEAST_PAUSE <= each <= 30 for each in many) and max(many[:2]) <= 4 and max(many) > 20
    assert len(set(many)) == 200
    assert 9 <= pauses.after_success(10) <= 10
    assert pauses.after_failure() <= 2
    assert 100 <= pauses.after_failure(100.0) <= 104
    assert pauses.after_failure(1e9) <= 630
    assert max(pauses.after_failure(None, 5.0) for _ in range(50)) <= 5


def test_what_may_be_new_is_read_before_the_next_poll_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one would be after the end of the test; however many ask, two are enough."""
    monkeypatch.setattr(plane_link, "LOOK_AGAIN_SECONDS", PATIENCE)
    with routes_server() as plane:
        plane.routes = Routes([], [], [], 2.0)
        world = World(tmp_path, plane.url, rare=1.0)

        async def act() -> None:
            assert await world.link.first_attempt() is None and world.table.models() == []
            plane.routes = Routes(QWEN.replicas, [], [], 2.0)
            before = plane.count(ROUTES)
            await asyncio.gather(*[world.link.look_again() for _ in range(20)])
            assert world.table.models() == ["qwen"] and plane.count(ROUTES) - before <= 2

        during(world, act)


def test_nobody_waits_for_a_control_plane_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plane_link, "LOOK_AGAIN_SECONDS", PATIENCE)
    world = World(tmp_path, f"http://127.0.0.1:{free_port()}")

    async def act() -> None:
        assert await world.link.first_attempt() is not None
        await asyncio.wait_for(world.link.look_again(), PATIENCE / 2)

    during(world, act)
