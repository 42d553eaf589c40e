"""The two clients that a control plane meets: one from worker-api.md alone, one from all of PROTOCOL.md."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from .client import Client, Json, Reply, unique

GIB = 1024**3

Answers = Mapping[str, Callable[[Json], Json]]
"""Command type to what the worker answers: the fields of a result beside its status."""


class Worker:
    """The literal client: it knows no session, ack, generation or command id."""

    def __init__(self, url: str, token: str, *, name: str | None = None, host: str | None = None, gpus: int = 2):
        self.client = Client(url)
        self.name, self.token, self.host, self.gpus = name or unique("worker"), token, host or unique("host"), gpus
        self.worker_id = ""

    def registration(self, **more: Json) -> Json:
        """worker-api.md's body."""
        devices = [
            {"index": index, "name": "NVIDIA A100-SXM4-80GB", "memory_total": 80 * GIB, "cuda_version": "12.1"}
            for index in range(self.gpus)
        ]
        system = {"hostname": self.host, "cpu_count": 64, "memory_total": 256 * GIB, "os": "Ubuntu 22.04"}
        gpu_info = {"count": self.gpus, "devices": devices}
        return {"name": self.name, "token": self.token, "gpu_info": gpu_info, "system_info": system} | more

    def try_register(self, **more: Json) -> Reply:
        return Client(self.client.url).post("/api/workers/register", self.registration(**more))

    def register(self, *, bearer_from_body: bool = False, **more: Json) -> Json:
        """Register and keep what was given; the Bearer is the issued token, or in the other reading the body's."""
        given = self.try_register(**more).expect(200)
        self.worker_id = given["worker_id"]
        self.client.bearer = self.token if bearer_from_body else given["token"]
        return given

    def path(self, rest: str) -> str:
        return f"/api/workers/{self.worker_id}/{rest}"

    def heartbeat(self, *active: str, **more: Json) -> Json:
        """worker-api.md's body; active deployments are given by id."""
        usage = [{"index": index, "memory_used": 45 * 10**9, "utilization": 85} for index in range(self.gpus)]
        return {"status": "online", "gpu_usage": usage, "active_deployments": list(active)} | more

    def try_beat(self, *active: str, **more: Json) -> Reply:
        return self.client.post(self.path("heartbeat"), self.heartbeat(*active, **more))

    def beat(self, *active: str, **more: Json) -> Json:
        return self.try_beat(*active, **more).expect(200)

    def commands(self, *active: str) -> list[Json]:
        """What one heartbeat brings."""
        return list(self.beat(*active)["commands"])

    def types(self, *active: str) -> list[str]:
        """The types of what one heartbeat brings."""
        return [command["type"] for command in self.commands(*active)]

    def goodbye(self, *active: str) -> Json:
        return self.beat(*active, status="offline")

    def report(self, deployment_id: str, status: str, **more: Json) -> Reply:
        return self.client.post(self.path(f"deployments/{deployment_id}/status"), {"status": status} | more)

    def start(self, deployment_id: str, container_id: str = "abc123") -> None:
        """Take the deploy that waits and report it up to `running`."""
        assert deployment_id in [command.get("deployment_id") for command in self.commands()]
        self.report(deployment_id, "starting").expect(200)
        self.report(deployment_id, "running", container_id=container_id, port=8001).expect(200)


class Agent(Worker):
    """The full client: it acks, echoes the inbox, carries a session, and answers operations."""

    def __init__(self, url: str, token: str, **host: Json) -> None:
        super().__init__(url, token, **host)
        self.boot_id, self.journal_id = uuid.uuid4().hex, uuid.uuid4().hex
        self.machine_id = uuid.uuid4().hex
        self.session, self.inbox, self.acks, self.sequence = 0, None, list[str](), 0

    def registration(self, **more: Json) -> Json:
        return super().registration(boot_id=self.boot_id, machine_id=self.machine_id, agent_version="0.1.0", **more)

    def register(self, *, bearer_from_body: bool = False, **more: Json) -> Json:
        given = super().register(bearer_from_body=bearer_from_body, **more)
        self.session = given["session"]
        return given

    def heartbeat(self, *active: str, **more: Json) -> Json:
        known: Json = {} if self.inbox is None else {"inbox": self.inbox}
        own = {"session": self.session, "journal_id": self.journal_id, "acks": self.acks} | known
        return super().heartbeat(*active, **(own | more))

    def beat(self, *active: str, **more: Json) -> Json:
        """Acks with each heartbeat what the one before it brought."""
        given = super().beat(*active, **more)
        self.inbox, self.acks = given["inbox"], [command["command_id"] for command in given["commands"]]
        return given

    def say(self, deployment_id: str, status: str, generation: int, **more: Json) -> Reply:
        """A report with its place in the order."""
        self.sequence += 1
        order = {"session": self.session, "generation": generation, "sequence": self.sequence}
        return self.report(deployment_id, status, **(order | more))

    def result(self, command_id: str, status: str = "succeeded", **more: Json) -> Reply:
        return self.client.post(self.path(f"commands/{command_id}/result"), {"status": status} | more)

    def fetch(self, kind: str, seconds: float = 5) -> Json:
        """Beat until a command of that type arrives; an operation may be enqueued by a request that still waits."""
        deadline = time.monotonic() + seconds
        while True:
            for command in self.commands():
                if command["type"] == kind:
                    return command
            assert time.monotonic() < deadline, f"no {kind} arrived"
            time.sleep(0.02)

    @contextmanager
    def answering(self, answers: Answers) -> Iterator[list[Json]]:
        """Play the agent on a second thread; yields the operations that it was given, one entry each."""
        seen: list[Json] = []
        over = threading.Event()
        thread = threading.Thread(target=self._answer, args=(answers, seen, over))
        thread.start()
        try:
            yield seen
        finally:
            over.set()
            thread.join()

    def _answer(self, answers: Answers, seen: list[Json], over: threading.Event) -> None:
        while not over.wait(0.02):
            for command in self.commands():
                if command["type"] in answers and command["command_id"] not in [one["command_id"] for one in seen]:
                    seen.append(command)
                    self.result(command["command_id"], **answers[command["type"]](command)).expect(200)
