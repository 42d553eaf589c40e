"""One server for the session, keys of each role, and a fresh worker for each test."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from .client import Client, Json, Operator
from .serve import ADMIN_KEY, REGISTRATION_TOKEN, Serve
from .workers import Agent, Worker


@dataclass(frozen=True)
class Server:
    """Where it is and the two secrets that somebody who starts it has."""

    url: str
    admin_key: str
    registration_token: str


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if url := os.environ.get("MUSTER_URL"):
        yield Server(url, os.environ["MUSTER_ADMIN_KEY"], os.environ["MUSTER_REGISTRATION_TOKEN"])
        return
    serve = Serve(tmp_path_factory.mktemp("serve") / "data")
    serve.start()
    yield Server(serve.url, ADMIN_KEY, REGISTRATION_TOKEN)
    serve.stop()


@pytest.fixture(scope="session")
def anyone(server: Server) -> Client:
    """A client without a credential."""
    return Client(server.url)


@pytest.fixture(scope="session")
def admin(server: Server) -> Operator:
    return Operator(server.url, server.admin_key)


@pytest.fixture(scope="session")
def keyed(server: Server, admin: Operator) -> Callable[[str], Operator]:
    """An operator's client of a role."""

    def make(role: str) -> Operator:
        return Operator(server.url, admin.post("/api/api-keys", {"name": role, "role": role}).expect(201)["key"])

    return make


@pytest.fixture(scope="session")
def an_operator(keyed: Callable[[str], Operator]) -> Operator:
    return keyed("operator")


@pytest.fixture
def operator(an_operator: Operator) -> Iterator[Operator]:
    """Leaves no deployment of the test waiting for a worker."""
    yield an_operator
    an_operator.withdraw()


@pytest.fixture(scope="session")
def viewer(keyed: Callable[[str], Operator]) -> Operator:
    return keyed("viewer")


@pytest.fixture
def worker(server: Server) -> Worker:
    """A literal worker, registered and online."""
    worker = Worker(server.url, server.registration_token)
    worker.register()
    worker.beat()
    return worker


@pytest.fixture
def agent(server: Server) -> Agent:
    """A full agent, registered and online."""
    agent = Agent(server.url, server.registration_token)
    agent.register()
    agent.beat()
    return agent


@pytest.fixture
def registration_token(admin: Operator) -> Callable[..., Json]:
    """A new registration token's resource, its secret included."""

    def make(**fields: Json) -> Json:
        return admin.post("/api/registration-tokens", fields).expect(201)

    return make


@pytest.fixture(scope="module")
def host(server: Server) -> Worker:
    """Online when a module begins; of what is tried on it nothing may get far enough to change it."""
    worker = Worker(server.url, server.registration_token)
    worker.register()
    worker.beat()
    return worker


@pytest.fixture(scope="module")
def away(server: Server) -> Worker:
    """A worker that is offline, so that what reaches for it is answered at once."""
    worker = Worker(server.url, server.registration_token)
    worker.register()
    worker.goodbye()
    return worker
