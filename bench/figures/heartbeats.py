"""Heartbeats of 1,000 workers over kept connections, each server with the load generator alone on the machine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from bench.figure import Comparison, Figure, Metric, Say, Scale, Subject
from bench.load import Measured, Plan
from bench.peers import Bench, floor
from bench.servers import ROOT, Server

CONNECTIONS = (8, 32, 100)
METRICS = (
    Metric("rate", "heartbeats/s", "more", 0),
    Metric("p50", "ms"),
    Metric("p99", "ms"),
    Metric("server_cpu", "ms of CPU each", places=3),
    Metric("client_cpu", "% of a core, client", places=0),
    Metric("memory", "MiB resident", places=0),
    Metric("errors", "errors", places=0),
)


def run_load(plan: Plan) -> Measured:
    """Raises RuntimeError with the load generator's complaint."""
    command = [sys.executable, "-m", "bench.load"]
    done = subprocess.run(command, input=json.dumps(asdict(plan)), cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the load generator failed: {done.stderr[-2000:]}")
    return Measured(**json.loads(done.stdout))


class Heartbeats(Subject):
    """`make` makes the server in the folder; `workers` register before anything is measured."""

    def __init__(self, name: str, make: Callable[[Path], Server], folder: Path, scale: Scale) -> None:
        self.name = name
        self._make, self._folder, self._scale = make, folder, scale
        self._server: Server | None = None
        self._requests: list[str] = []

    def start(self, say: Say) -> None:
        self._server = self._make(self._folder)
        self._server.start()
        say(f"{self.name}: {self._scale.workers} workers register")
        self._requests = self._server.heartbeats(self._server.register(self._scale.workers))

    def measure(self, case: str) -> dict[str, float]:
        assert self._server is not None
        plan = Plan(self._server.port, int(case), self._scale.seconds, self._requests, self._server.pids())
        measured = run_load(plan)
        return {
            "rate": measured.rate,
            "p50": measured.p50,
            "p99": measured.p99,
            "server_cpu": 1000 * measured.server_cpu / max(measured.answers, 1),
            "client_cpu": 100 * measured.client_cpu / measured.seconds,
            "memory": self._server.memory() / 2**20,
            "errors": measured.errors,
        }

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()


class Responder(Heartbeats):
    """The floor of HTTP: it answers, and knows no workers."""

    def start(self, say: Say) -> None:
        self._server = self._make(self._folder)
        self._server.start()
        self._requests = self._server.heartbeats([]) * self._scale.workers


class SyncedUpdates(Subject):
    """The floor of a durable write: how many rows a second one connection of SQLite changes and syncs."""

    name = "bare SQLite"

    def __init__(self, folder: Path, scale: Scale) -> None:
        self._file, self._scale = folder / "floor.db", scale

    def measure(self, case: str) -> dict[str, float]:
        arguments = [str(self._file), str(self._scale.seconds), str(self._scale.workers)]
        command = [sys.executable, "-m", "bench.bare_sqlite", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        floor = json.loads(done.stdout)
        each = 1000 * floor["seconds"] / floor["updates"]
        return {"rate": 1000 / each, "p50": each, "server_cpu": 1000 * floor["cpu"] / floor["updates"]}


def figure(bench: Bench, connections: Sequence[int] = CONNECTIONS) -> Figure:
    subjects: list[Subject] = [
        Heartbeats(name, make, bench.fresh(f"heartbeats-{name}"), bench.scale) for name, make in bench.servers().items()
    ]
    subjects.append(Responder("bare HTTP", floor, bench.fresh("heartbeats-http"), bench.scale))
    subjects.append(SyncedUpdates(bench.fresh("heartbeats-sqlite"), bench.scale))
    others = [bench.reference_name] if bench.reference else ["LMStack", "LMStack, 1 process", "FastAPI", "bare HTTP"]
    return Figure(
        name="heartbeats",
        title="Heartbeats",
        text=(
            f"Idle heartbeats of {bench.scale.workers:,} workers over 8, 32, and 100 kept connections. Each connection "
            "sends the next heartbeat when the last one is answered. The load generator is a process of its own, on "
            "one of the cores. `bare HTTP` parses nothing and stores nothing. `bare SQLite` changes and syncs one row "
            "after another, without HTTP, so its latency is a mean; a server that syncs several heartbeats together "
            "may pass this floor."
        ),
        cases=[str(count) for count in connections],
        metrics=METRICS,
        subjects=subjects,
        unplotted=["bare HTTP"],
        comparisons=[
            *(Comparison("rate", "Muster", other) for other in others),
            *(Comparison("server_cpu", "Muster", other) for other in others),
            *(Comparison("p99", "Muster", other) for other in others if not other.startswith("bare")),
        ],
    )
