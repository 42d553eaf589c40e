"""What the faults happen to: serve on a real DynamoDB engine whose file survives it, and agents on this machine.

The engine is a process of its own, so that whoever kills serve kills no database.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from tests.faults.instances import Model, models_of
from tests.faults.proxy import Deck, Proxy
from tests.fixtures import dynoxide
from tests.fixtures.agent_process import Operator, ProcessHost
from tests.fixtures.serve import Serve
from tests.fixtures.waiting import PATIENCE, eventually


class Plane:
    """The control plane. `serve` is killed and started at will; the engine goes on, unless it is stopped too."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self._database = folder / "dynamodb.sqlite3"
        self._stack = ExitStack()
        self.serve = Serve(folder / "data", MUSTER_HEARTBEAT="1", **environment)
        self.operator = Operator(self.serve.url)

    def start(self) -> None:
        url = self._stack.enter_context(dynoxide.running(self._database))
        self.serve.environment["AWS_ENDPOINT_URL_DYNAMODB"] = url
        self.serve.start()

    def stop(self) -> None:
        self.serve.stop()
        self._stack.close()

    def save(self, copy: Path) -> None:
        """The database as it is now, while it is used."""
        with closing(sqlite3.connect(self._database)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)

    def restore(self, copy: Path) -> None:
        """That database in the place of the one there is, while nobody uses it."""
        for left in self._database.parent.glob(f"{self._database.name}*"):
            left.unlink()
        copy.rename(self._database)

    def token(self, **fields: Any) -> str:
        """A registration token, good for one host unless `max_uses` says more."""
        return str(self.operator.call("POST", "/api/registration-tokens", fields)["token"])

    def worker(self, name: str) -> Any:
        """As operators see it; None before it joined."""
        listed = self.operator.call("GET", "/api/workers")["workers"]
        return next((each for each in listed if each["name"] == name), None)

    def sees(self, name: str, status: str) -> None:
        """Wait until that worker is it."""
        eventually(lambda: (self.worker(name) or {}).get("status"), lambda seen: seen == status, f"{name} is {status}")


@contextmanager
def plane(folder: Path, **environment: str) -> Iterator[Plane]:
    """Raises dynoxide.Unavailable."""
    started = Plane(folder, **environment)
    started.start()
    try:
        yield started
    finally:
        started.stop()


class ProxiedHost(ProcessHost):
    """An agent with the process engine, behind a proxy of its own."""

    def __init__(self, folder: Path, serve: Serve, name: str, token: str, deck: Deck | None = None) -> None:
        folder.mkdir(parents=True)
        self.proxy = Proxy(serve.port, deck)
        super().__init__(folder, self.proxy.url, name, token)
        self.environment |= {"HF_HUB_CACHE": str(folder / "hub")}
        self.started = False

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def said(self) -> str:
        return (self.folder / "agent.log").read_text()

    def instances(self) -> list[Model]:
        return models_of(self.folder)

    def start(self) -> None:
        super().start()
        self.started = True

    def end(self) -> None:
        if self.started:
            super().end()
        self.proxy.end()


@contextmanager
def idle(
    folder: Path, plane: Plane, name: str, token: str | None = None, deck: Deck | None = None
) -> Iterator[ProxiedHost]:
    """A host whose agent is yet to be started."""
    made = ProxiedHost(folder, plane.serve, name, token or plane.token(), deck)
    try:
        yield made
    finally:
        made.end()


@contextmanager
def host(
    folder: Path, plane: Plane, name: str, token: str | None = None, deck: Deck | None = None
) -> Iterator[ProxiedHost]:
    """Started, and a worker already unless there is a deck of faults."""
    with idle(folder, plane, name, token, deck) as made:
        made.start()
        if deck is None:
            plane.sees(name, "online")
        yield made


class Supervisor:
    """Starts a host's agent, and again at once however it ends. A context."""

    def __init__(self, worker: ProcessHost) -> None:
        self.worker, self.starts = worker, 0
        self._over = False
        self._lock = threading.Lock()

    def __enter__(self) -> Supervisor:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        eventually(lambda: self.starts, bool, "it was started")
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._over = True
            self.worker.process.kill()
        self._thread.join()

    def kill(self) -> None:
        """And see it started again."""
        before = self.starts
        with self._lock:
            self.worker.process.kill()
        eventually(lambda: self.starts, lambda count: count > before, "it was started again")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The agent is ended, and not started before the end of this."""
        with self._lock:
            self.worker.process.terminate()
            self.worker.process.wait(PATIENCE)
            yield

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._over:
                    return
                self.worker.start()
                self.starts += 1
            self.worker.process.wait()


def ask_for(plane: Plane, worker: str, **body: Any) -> str:
    """A deployment on that worker; its id."""
    placed = {"worker_id": plane.worker(worker)["worker_id"], "env": {"STANDIN_LOAD_SECONDS": "0.1"}}
    return plane.operator.deploy(**(placed | body))


def deploy(plane: Plane, worker: str, **body: Any) -> Any:
    """One that runs."""
    return plane.operator.reach(ask_for(plane, worker, **body), "running")


def delete(folder: Path) -> None:
    """At once: whoever writes into it meanwhile does not keep it."""
    shutil.rmtree(folder.rename(folder.with_name("deleted")))
