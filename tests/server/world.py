"""A fleet at a virtual time: operators and workers that call the services as the routes would."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from chalicelib import deployments, heartbeat, liveness, operations, registration, reports, tokens, views
from chalicelib.contract import messages as m
from chalicelib.contract import resources as r
from chalicelib.contract.endpoints import Access
from tests.server.database import Recorder

ADMIN = tokens.Principal("key admin", Access.ADMIN)
JOIN = "a registration token for many workers"


@dataclass
class World:
    database: Recorder
    now: float = 1_800_000_000.0

    def __post_init__(self) -> None:
        tokens.seed_registration_token(JOIN, self.now)

    def pass_(self, seconds: float) -> None:
        self.now += seconds

    def worker(self, name: str = "gpu-1", gpus: int = 2, *, token: str = JOIN, **host: Any) -> Worker:
        worker = Worker(self, name, gpus, token, host)
        worker.register()
        return worker

    def deploy(self, model: str = "org/model", **body: Any) -> str:
        wanted = msgspec.convert({"model": model, **body}, r.NewDeployment)
        return str(deployments.create(wanted, ADMIN, self.now).deployment_id)

    def see(self, deployment_id: str) -> r.Deployment:
        return views.one(deployments.load(deployment_id), ADMIN, self.now)

    def stop(self, deployment_id: str) -> None:
        deployments.stop(deployment_id, ADMIN, self.now)

    def start(self, deployment_id: str) -> None:
        deployments.start(deployment_id, ADMIN, self.now)

    def restart(self, deployment_id: str) -> None:
        deployments.restart(deployment_id, ADMIN, self.now)

    def ask(self, worker: Worker, type_: str = "list_images", **parameters: Any) -> str:
        return str(operations.enqueue(worker.id, type_, parameters, ADMIN.label, self.now).operation_id)

    def operation(self, operation_id: str) -> r.Operation:
        return operations.view(operations.load(operation_id, self.now))

    def sweep(self) -> None:
        liveness.expire(self.now)


@dataclass
class Worker:
    """A literal client until it is told a journal; then it says its session and acknowledges what it is sent."""

    world: World
    name: str
    gpus: int
    join_token: str
    host: dict[str, Any]
    journal_id: str | None = None
    active: list[str] = field(default_factory=list)
    acks: list[str] = field(default_factory=list)
    answer: m.Registered = field(init=False)
    token: str = ""

    @property
    def id(self) -> str:
        return self.answer.worker_id

    def register(self, **host: Any) -> None:
        devices = [{"index": index} for index in range(self.gpus)]
        body = {"name": self.name, "token": self.join_token, "gpu_info": {"count": self.gpus, "devices": devices}}
        body |= {"system_info": {"hostname": self.name}, **self.host, **host}
        self.answer = registration.register(msgspec.convert(body, m.Registration), None, self.world.now)
        self.token = self.answer.token

    def beat(self, **fields: Any) -> m.HeartbeatAnswer:
        body: dict[str, Any] = {"status": "online", "gpu_usage": [], "active_deployments": self.active}
        if self.journal_id:
            body |= {"session": self.answer.session, "journal_id": self.journal_id, "acks": self.acks}
        parsed = msgspec.convert({**body, **fields}, m.Heartbeat)
        answer = heartbeat.heartbeat(self.id, self.token, parsed, self.world.now)
        if self.journal_id:
            self.acks = [command.command_id for command in answer.commands]
        return answer

    def types(self, **fields: Any) -> list[str]:
        return [str(msgspec.to_builtins(command)["type"]) for command in self.beat(**fields).commands]

    def report(self, deployment_id: str, status: str, **fields: Any) -> m.Applied:
        body = msgspec.convert({"status": status, **fields}, m.Report)
        return reports.report(self.id, deployment_id, body, f"worker {self.name}", self.world.now)

    def run(self, deployment_id: str) -> None:
        """Take the deploy that waits, and bring it up."""
        assert "deploy" in self.types()
        self.report(deployment_id, "running", container_id="c1", port=8001)
        self.active = [*self.active, deployment_id]

    def result(self, operation_id: str, status: str = "succeeded", **fields: Any) -> m.Applied:
        body = msgspec.convert({"status": status, **fields}, m.Result)
        return operations.settle(self.id, operation_id, body, self.world.now)
