"""Keys and tokens are replaced while they are used, and nobody who uses them is refused on the way."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.fixtures.http_client import Client, Json, Operator
from tests.fixtures.http_workers import Agent, Worker
from tests.fixtures.served import Server
from tests.fixtures.waiting import PATIENCE

TokenMaker = Callable[..., Json]
ENOUGH = 5
"""Requests before and after each step."""


class Caller:
    """Asks the same again and again, with whatever credential it was given last; `answers` are the statuses."""

    def __init__(self, ask: Callable[[str], int], credential: str) -> None:
        self._ask, self.credential = ask, credential
        self.answers: list[int] = []
        self._answered = threading.Condition()
        self._over = threading.Event()

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                answer = self._ask(self.credential)
                with self._answered:
                    self.answers.append(answer)
                    self._answered.notify()
        finally:
            self._over.set()
            with self._answered:
                self._answered.notify()

    def goes_on(self) -> None:
        """Until it has asked some times more, so that whatever was done meanwhile has met it."""
        with self._answered:
            enough = len(self.answers) + ENOUGH
            self._answered.wait_for(lambda: len(self.answers) >= enough or self._over.is_set(), PATIENCE)
            assert len(self.answers) >= enough, "it asks no more"

    @contextmanager
    def calling(self) -> Iterator["Caller"]:
        with ThreadPoolExecutor(1) as threads:
            running = threads.submit(self._run)
            try:
                self.goes_on()
                yield self
                self.goes_on()
            finally:
                self._over.set()
                running.result()


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_a_key_is_replaced_while_a_program_uses_it(admin: Operator, server: Server, role: str) -> None:
    """The new one first, then the program, then the old one's end. An admin's successor ends the admin's own."""
    old = admin.post("/api/api-keys", {"name": "old", "role": role}).expect(201)
    caller = Caller(lambda key: Client(server.url, key).get("/api/workers?limit=1").status, old["key"])
    with caller.calling():
        maker = Client(server.url, old["key"]) if role == "admin" else admin
        new = maker.post("/api/api-keys", {"name": "new", "role": role}).expect(201)
        caller.goes_on()
        caller.credential = new["key"]
        caller.goes_on()
        ender = Client(server.url, new["key"]) if role == "admin" else admin
        ender.delete(f"/api/api-keys/{old['key_id']}").expect(200)
    assert set(caller.answers) == {200}, Counter(caller.answers)
    Client(server.url, old["key"]).get("/api/workers").expect(401, "UNAUTHENTICATED")


def test_a_registration_token_is_replaced_while_hosts_join(
    admin: Operator, server: Server, registration_token: TokenMaker
) -> None:
    """Who joined with the old one goes on, and comes back by what was issued to it."""
    old, new = registration_token(max_uses=1000), registration_token(max_uses=1000)
    there = Agent(server.url, old["token"])
    there.register()
    hosts = Caller(lambda token: Worker(server.url, token).try_register().status, old["token"])
    beats = Caller(lambda token: there.try_beat().status, "")
    with hosts.calling(), beats.calling():
        hosts.credential = new["token"]
        hosts.goes_on()
        admin.delete(f"/api/registration-tokens/{old['token_id']}").expect(200)
    assert set(hosts.answers) == {200}, Counter(hosts.answers)
    assert set(beats.answers) == {200}, Counter(beats.answers)
    Worker(server.url, old["token"]).try_register().expect(401, "UNAUTHENTICATED")
    before, there.token, there.boot_id = there.worker_id, there.client.bearer or "", "after a restart"
    there.register()
    assert there.worker_id == before
    there.beat()


def test_a_workers_own_token_is_replaced_between_its_heartbeats(agent: Agent) -> None:
    """Each start of an agent has a token of its own; the one before opens until that was used."""
    agent.beat()
    url, path, body = agent.client.url, agent.path("heartbeat"), agent.heartbeat()
    body.pop("session", None)
    caller = Caller(lambda token: Client(url, token).post(path, body).status, agent.client.bearer or "")
    with caller.calling():
        for start in range(3):
            agent.boot_id = f"start {start}"
            agent.register()
            caller.goes_on()
            caller.credential = agent.client.bearer or ""
            caller.goes_on()
    assert set(caller.answers) == {200}, Counter(caller.answers)
    assert len(caller.answers) > 3 * ENOUGH
