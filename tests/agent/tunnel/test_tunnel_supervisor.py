"""The agent's part: the child's life, its orders, tickets, and draining, at a clock of the test's own."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import msgspec
import pytest

from muster.api.messages import Gateways, WorkersGateway
from muster_agent.control.backoff import Backoff
from muster_agent.tunnel.orders import ModelTarget, Orders
from muster_agent.tunnel.settings import TunnelSettings
from muster_agent.tunnel.tunnel_supervisor import TunnelSupervisor
from tests.fixtures.waiting import eventually

URL = "https://models.example.com"
MODEL = ModelTarget("i", "127.0.0.1", 8001)
CHILD = """
import sys
for line in sys.stdin:
    with open(sys.argv[1], "a") as file:
        file.write(line)
    if '"draining":["i"]' in line and len(sys.argv) > 2:
        print('{"drained":"i"}', flush=True)
"""


class World:
    """A supervisor whose child writes down what it is sent; with `drains` it says that everything drains at once."""

    def __init__(self, folder: Path, drains: bool = True, **settings: object) -> None:
        self.now = 100.0
        self.file = folder / "orders"
        self.file.touch()
        self.models = {"d": MODEL}
        self.renewed: list[Gateways | None] = []
        self.asked = 0
        command = (sys.executable, "-c", CHILD, str(self.file), *(["drains"] if drains else []))
        chosen = TunnelSettings(**settings)  # type: ignore[arg-type]
        self.supervisor = TunnelSupervisor(chosen, lambda: self.now, Backoff(Random(1)), command)
        self.supervisor.start(lambda before: dict(self.models), self._renew, lambda name, run: None)

    def _renew(self) -> Gateways | None:
        self.asked += 1
        return self.renewed.pop(0) if self.renewed else None

    def offer(self, *urls: str, ticket: str = "t1", direct_wait: float = 0.0) -> None:
        self.supervisor.offer(Gateways([WorkersGateway(url, ticket, 600.0) for url in urls], direct_wait))

    def step(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self.supervisor.step(self.now)

    def orders(self) -> list[Orders]:
        return [msgspec.json.decode(line, type=Orders) for line in self.file.read_text().splitlines()]

    def pid(self) -> int | None:
        child = self.supervisor._child
        return child.pid if child is not None and child.lives else None


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.supervisor.close()


def test_a_child_runs_while_there_is_a_gateway_and_is_sent_what_changed(world: World) -> None:
    world.step()
    assert world.pid() is None
    world.offer(URL)
    world.step()
    world.step()
    (first,) = eventually(world.orders, lambda seen: len(seen) == 1)
    assert [(order.url, order.ticket) for order in first.gateways] == [(URL, "t1")] and first.models == {"d": MODEL}
    world.models = {}
    world.step()
    eventually(world.orders, lambda seen: len(seen) == 2 and seen[1].models == {})
    world.offer()
    world.step()
    assert world.pid() is None


def test_a_child_that_ends_is_started_again_after_a_while(world: World) -> None:
    world.offer(URL)
    world.step()
    before = world.pid()
    assert world.supervisor._child is not None
    world.supervisor._child._process.kill()
    world.supervisor._child._process.wait()
    world.step()
    assert world.pid() is None, "not at once"
    world.step(120.0)
    assert world.pid() not in (None, before)
    eventually(world.orders, lambda seen: len(seen) >= 1 and seen[-1].models == {"d": MODEL})


def test_tickets_are_asked_for_where_no_heartbeat_brought_them_and_again_if_that_fails(world: World) -> None:
    world.offer(URL)
    world.step(449.0)
    assert world.asked == 0
    world.step(2.0)
    world.step(10.0)
    assert world.asked == 1
    world.renewed = [Gateways([WorkersGateway(URL, "t2", 600.0)])]
    world.step(11.0)
    assert world.asked == 2
    eventually(world.orders, lambda seen: bool(seen) and seen[-1].gateways[0].ticket == "t2")
    world.step(449.0)
    assert world.asked == 2


def test_an_owner_decides_which_gateways_are_dialed(tmp_path: Path) -> None:
    some = World(tmp_path, gateways=frozenset({"models.example.com"}))
    some.offer(URL, "https://other.example.com")
    some.step()
    (orders,) = eventually(some.orders, lambda seen: len(seen) == 1)
    assert [order.url for order in orders.gateways] == [URL]
    some.supervisor.close()
    none = World(tmp_path, enabled=False)
    none.offer(URL)
    none.step()
    assert none.pid() is None


def test_a_drain_ends_when_the_child_says_so(world: World) -> None:
    world.offer(URL)
    world.step()
    draining = threading.Thread(target=world.supervisor.drain, args=("i",))
    draining.start()
    eventually(lambda: world.supervisor._draining, lambda seen: seen == {"i"})
    world.step()
    draining.join(200)
    assert not draining.is_alive()
    world.models = {}
    world.step()
    assert world.supervisor._draining == set(), "what has ended is forgotten"


def test_a_drain_ends_with_its_time_or_the_child_or_a_newer_intent(tmp_path: Path) -> None:
    world = World(tmp_path, drains=False, drain=30.0)
    world.offer(URL)
    world.step()
    cancelled = [False]
    ends: list[Callable[[], object]] = [
        lambda: setattr(world, "now", world.now + 31.0),
        lambda: cancelled.__setitem__(0, True),
        lambda: world.supervisor._child._process.kill(),  # type: ignore[union-attr]
    ]
    for end in ends:
        draining = threading.Thread(target=world.supervisor.drain, args=("i", lambda: cancelled[0]))
        cancelled[0] = False
        draining.start()
        eventually(lambda: "i" in world.supervisor._draining)
        end()
        draining.join(200)
        assert not draining.is_alive()
    world.supervisor.close()


def test_nothing_waits_where_no_gateway_reaches_the_model(world: World) -> None:
    world.supervisor.drain("i")
    world.offer(URL)
    world.step()
    world.supervisor.drain("another")


def test_a_model_that_is_reached_directly_waits_two_polls(world: World) -> None:
    world.offer(URL, direct_wait=4.0)
    waiting = threading.Thread(target=world.supervisor.drain, args=("another",))
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    world.now += 5.0
    waiting.join(200)
    assert not waiting.is_alive()
