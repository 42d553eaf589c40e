"""One control plane with one real agent for all, and a browser; each test has a visit of its own, which is checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.console.browser import Visitor, chromium, context, need_chromium
from tests.console.players import Fleet, Machine, Model, Player
from tests.fixtures.agent_process import ProcessHost
from tests.fixtures.http_client import Operator, unique
from tests.fixtures.serve import ADMIN_KEY, REGISTRATION_TOKEN, Serve
from tests.fixtures.served import HOURS, native_database
from tests.fixtures.waiting import eventually


@dataclass(frozen=True)
class Place:
    """Where the console is. `worker_id` is the real agent's, whose models are stand-ins: one runs, one has crashed."""

    url: str
    admin: Operator
    worker_id: str
    running: str
    crashed: str

    def key(self, role: str) -> str:
        made = self.admin.post("/api/api-keys", {"name": unique(role), "role": role}).expect(201)
        return str(made["key"])

    def deploy(self, **fields: Any) -> str:
        return deploy(self.admin, self.worker_id, **fields)

    def reach(self, deployment_id: str, status: str) -> Any:
        return eventually(lambda: self.admin.deployment(deployment_id), lambda d: d["status"] == status)


def deploy(admin: Operator, worker_id: str, **fields: Any) -> str:
    body = {"model": "org/tiny", "name": unique("model"), **fields}
    return str(admin.deploy(worker_id, **body)["deployment_id"])


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    need_chromium()
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder: Path = tmp_path_factory.mktemp("console")
    with ExitStack() as started:
        database = started.enter_context(native_database())
        serve = Serve(folder / "data", MUSTER_HEARTBEAT="1", MUSTER_ONLINE_WINDOW=HOURS, **database)
        serve.start()
        started.callback(serve.stop)
        host = ProcessHost(folder, serve.url)
        host.start()
        started.callback(host.end)
        admin = Operator(serve.url, ADMIN_KEY)
        worker_id = eventually(lambda: admin.get("/api/workers").expect(200)["workers"], bool)[0]["worker_id"]
        crashed = deploy(admin, worker_id, config={"max_model_len": 200000, "seed": 7})
        config = {"max_model_len": 2048, "dtype": "half"}
        running = deploy(admin, worker_id, config=config, env={"SECRET_WORD": "hidden"})
        made = Place(serve.url, admin, worker_id, running, crashed)
        made.reach(running, "running")
        made.reach(crashed, "error")
        yield made


@pytest.fixture(scope="session")
def vacant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """A second control plane, on which nothing is: whoever adds something removes it with `vacate`."""
    with Serve(tmp_path_factory.mktemp("vacant") / "data", MUSTER_HEARTBEAT="1", MUSTER_ONLINE_WINDOW=HOURS) as serve:
        yield serve


@pytest.fixture(scope="session")
def metered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """A third control plane, with a gateway in its process: the only one where callers' usage is reported."""
    with Serve(tmp_path_factory.mktemp("metered") / "data", MUSTER_SERVE_GATEWAY="1") as serve:
        admin = Operator(serve.url, ADMIN_KEY)
        eventually(lambda: admin.get("/api/gateways").expect(200)["gateways"], what="the gateway to register")
        yield serve


def vacate(serve: Serve) -> None:
    """Remove every worker and every deployment."""
    admin = Operator(serve.url, ADMIN_KEY)
    for worker in admin.get("/api/workers").expect(200)["workers"]:
        admin.delete(f"/api/workers/{worker['worker_id']}?force=true").expect(200)
    for made in admin.get("/api/deployments").expect(200)["deployments"]:
        admin.delete(f"/api/deployments/{made['deployment_id']}").expect(200)


@pytest.fixture(scope="session")
def shared(browser: Browser, place: Place) -> Iterator[BrowserContext]:
    """One page stays open in it, so that the process which has compiled the console's scripts lives on."""
    made = context(browser)
    made.new_page().goto(place.url)
    yield made
    made.close()


@pytest.fixture
def played(place: Place) -> Iterator[Callable[..., Player]]:
    """Another worker, played; it is forgotten after the test."""
    fleets: list[Fleet] = []

    def play(machine: Machine, kind: type[Player] = Player, **models: Model) -> Player:
        player = kind(place.url, REGISTRATION_TOKEN, machine, models)
        fleets.append(Fleet([player], every=0.2))
        fleets[-1].start()
        return player

    yield play
    for fleet in fleets:
        fleet.stop()
    for fleet in fleets:
        for player in fleet.players:
            place.admin.delete(f"/api/workers/{player.worker_id}?force=true").expect(200)


@pytest.fixture
def visit(browser: Browser, shared: BrowserContext, place: Place, played: object) -> Iterator[Callable[..., Visitor]]:
    """Somebody who comes with a browser of their own, at another address where one is given.

    It leaves before what it looks at ends: pages that are still open would report that. `alone` it shares nothing with
    other visitors.
    """
    with ExitStack() as leaving:

        def come(url: str = "", alone: bool = False, **options: Any) -> Visitor:
            visitor = Visitor(browser, url or place.url, None if alone or options else shared, **options)
            leaving.callback(visitor.close)
            return visitor

        yield come


@pytest.fixture
def visitor(visit: Callable[..., Visitor]) -> Visitor:
    return visit()


@pytest.fixture
def alone(visit: Callable[..., Visitor]) -> Visitor:
    return visit(alone=True)
