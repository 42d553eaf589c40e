"""A whole agent on a host in memory, with a clock in the test's hand. Nothing here has a thread: the test steps."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import requests
from msgspec.structs import replace

from agent.actor import Actor
from agent.api import Api
from agent.backoff import Backoff
from agent.crew import Crew, Host, Memory
from agent.engines import EngineError
from agent.gpus import Gpu
from agent.hub import Finding, Question
from agent.identity import StateDir
from agent.journal import Database
from agent.loop import Agent
from agent.policy import HostPolicy
from agent.preflight import Surroundings
from agent.reporter import Reporter
from agent.reserve import ReserveFile
from chalicelib.contract.messages import Disk, GpuInfo, GpuUsage, Registration, Report, SystemInfo
from tests.agent.fake_server import FakeServer
from tests.agent.memory_engine import MemoryEngine

DISK = Disk(total=100, used=40, free=60, percent=40)
DAY = 86400.0
GIB = 1024**3


class Clock:
    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def pass_time(self, seconds: float) -> None:
        self.now += seconds


def no_thread(name: str, target: Callable[[], None]) -> None:
    pass


def free_port(wanted: int | None, bind: str, taken: Collection[int]) -> int:
    if wanted in taken:
        raise EngineError("PORT_IN_USE", f"port {wanted} is in use")
    return wanted if wanted is not None else next(port for port in range(20000, 30000) if port not in taken)


@dataclass
class Probes:
    """What the models' servers answer: those in `ready`, by name, are up; those that run answer unless `hung`."""

    ready: set[str]
    hung: bool = False

    def __post_init__(self) -> None:
        self.keys: list[str | None] = []

    def is_ready(self, bind: str, port: int, model: str, api_key: str | None) -> bool:
        self.keys.append(api_key)
        return model in self.ready and not self.hung

    def is_alive(self, bind: str, port: int) -> bool:
        return not self.hung


@dataclass
class FakeHub:
    """What the hub has against a model, by name, and the bytes of its weights."""

    obstacles: dict[str, Finding] = field(default_factory=dict)
    bytes: int | None = None
    asked: list[Question] = field(default_factory=list)

    def obstacle(self, question: Question) -> Finding | None:
        self.asked.append(question)
        return self.obstacles.get(question.model)

    def weights(self, question: Question) -> int | None:
        return self.bytes


class World:
    """`boot()` starts an agent on what the state folder holds; `kill()` is kill -9."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, "gpu-1"
        self.clock = Clock()
        self.engine = MemoryEngine()
        self.server = FakeServer()
        self.probe = Probes({"org/model"})
        self.hub = FakeHub()
        self.gpus: list[Gpu] = [Gpu(index, total=80 * GIB, used=GIB) for index in range(2)]
        self.free_disk = 1000 * GIB
        self.run = "first run"
        self.policy = HostPolicy(hub_cache=folder / "hub")
        self.host_env = {"SECRET": "from-the-host"}
        self.boots = 0

    def boot(self, token: str = "registration-token") -> World:
        self.boots += 1
        self.state = StateDir(self.folder / "state")
        self.database = self._database()
        self.memory = Memory.of(self.database)
        self.memory.records.begin_run(self.run)
        self.host = Host(
            engine=self.engine,
            policy=self.policy,
            bind="127.0.0.1",
            host_env=self.host_env,
            state_dir=self.state.path,
            free_port=free_port,
            disk=lambda: DISK,
            clock=self.clock,
            probe=self.probe,
            around=Surroundings(self.hub, lambda: self.gpus, lambda path: replace(DISK, free=self.free_disk)),
            run=lambda: self.run,
            spawn=no_thread,
        )
        self.agent = Agent(
            self._api(), self._registration(token), self.host, self.memory, self.state, self._sample, Random(1)
        )
        self.reporter = Reporter(self._api(), self.memory.spool, self.agent, Backoff(Random(2)), self.clock.pass_time)
        self.agent.start()
        return self

    def kill(self) -> None:
        """The process is gone; its files and the host's instances are not."""
        self.database.close()
        self.state.close()

    # Making time pass

    def beat(self, seconds: float = 30.0) -> float:
        self.clock.pass_time(seconds)
        return self.agent.tick(self.clock.now)

    def settle(self, steps: int = 6, seconds: float = 2.0) -> None:
        """Let actors, operations and the reporter do what there is to do."""
        for _ in range(steps):
            self.clock.pass_time(seconds)
            self.crew.inventory.changed()  # as if the last look at the host was long ago
            self.crew.watch.step()
            for actor in list(self.crew.fleet.actors.values()):
                actor.step(self.clock.now)
            self.crew.operations.run_all()
            self.deliver()

    def deliver(self) -> None:
        for _ in range(50):
            if self.memory.spool.first() is None or self.reporter.step():
                return

    def order(self, **command: Any) -> None:
        """A command that arrives with the next heartbeat."""
        self.server.order(**command)
        self.beat()

    def deploy(self, generation: int = 1, deployment_id: str = "d1", **fields: Any) -> None:
        command = {"backend": "vllm", "model": "org/model", "config": {}, **fields}
        self._intent("deploy", generation, deployment_id, command)

    def stop(self, generation: int = 2, deployment_id: str = "d1") -> None:
        self._intent("stop", generation, deployment_id, {})

    def ask(self, type: str, command_id: str = "o1", expires_in: float = 60, **fields: Any) -> dict[str, Any]:
        """An operation, run to its end: the result as the control plane got it."""
        self.order(type=type, command_id=command_id, expires_in=expires_in, **fields)
        self.crew.operations.run_all()
        self.deliver()
        return self.result(command_id)

    # Looking

    @property
    def crew(self) -> Crew:
        assert self.agent.crew is not None
        return self.agent.crew

    def actor(self, deployment_id: str = "d1") -> Actor:
        return self.crew.fleet.actors[deployment_id]

    def statuses(self, deployment_id: str = "d1") -> list[str]:
        """As reported, without the repeats of a download's progress."""
        every = [report.status for about, report in self.server.reports if about == deployment_id]
        return [each for index, each in enumerate(every) if index == 0 or every[index - 1] != each]

    def last_report(self, deployment_id: str = "d1") -> Report:
        return [report for about, report in self.server.reports if about == deployment_id][-1]

    def result(self, command_id: str) -> dict[str, Any]:
        result = [result for about, result in self.server.results if about == command_id][-1]
        fields = ("status", "output", "error_code")
        return {name: getattr(result, name) for name in fields if getattr(result, name) is not None}

    def _intent(self, type: str, generation: int, deployment_id: str, fields: dict[str, Any]) -> None:
        self.order(
            type=type,
            command_id=f"{type}-{deployment_id}-{generation}",
            deployment_id=deployment_id,
            generation=generation,
            **fields,
        )

    def _database(self) -> Database:
        return Database(self.state.path / "journal", ReserveFile(self.state.path / "reserve", 4096))

    def _registration(self, token: str) -> Registration:
        return Registration(
            name=self.name,
            token=token,
            gpu_info=GpuInfo(0),
            system_info=SystemInfo("host"),
            boot_id=f"boot-{self.boots}",
        )

    def _api(self) -> Api:
        session: requests.Session = self.server.session_to_here()
        return Api("https://muster.example", session)

    def _sample(self) -> tuple[list[GpuUsage], Disk | None]:
        return [], DISK
