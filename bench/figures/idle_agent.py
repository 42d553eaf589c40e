"""An agent that has nothing to do, as a process on this machine: its memory, its processor time, and its bytes.

It runs with the engine for processes, so that no Docker is needed. With Docker, `make measure-agent` measures an agent
with two containers.
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.figure import Comparison, Figure, Metric, Say, Subject
from bench.load import answer_length, processor_seconds
from bench.peers import Bench
from bench.servers import ADMIN_KEY, REGISTRATION_TOKEN, Caller, Muster, free_port

METRICS = (
    Metric("cpu", "% of a core", places=3),
    Metric("memory", "MiB resident", places=1),
    Metric("request", "bytes a request", places=0),
    Metric("answer", "bytes an answer", places=0),
)
HEARTBEAT_SECONDS = 30
REGISTER_SECONDS = 60.0


@dataclass
class Exchange:
    """Bytes of one request and of its answer."""

    request: int = 0
    answer: int = 0


class CountingProxy:
    """Passes bytes between an agent and a control plane, and counts those of each exchange."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", free_port()))
        self.port = int(self._listener.getsockname()[1])
        self.exchanges: list[Exchange] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                agent, _ = self._listener.accept()
            except OSError:
                return  # it was closed
            threading.Thread(target=self._serve, args=(agent,), daemon=True).start()

    def _serve(self, agent: socket.socket) -> None:
        """One request and its answer after another, until one side hangs up."""
        with agent, socket.create_connection(("127.0.0.1", self._target)) as server:
            while True:
                exchange = Exchange()
                exchange.request = _passed(agent, server)
                exchange.answer = _passed(server, agent) if exchange.request else 0
                if not exchange.answer:
                    return
                self.exchanges.append(exchange)


def _passed(source: socket.socket, target: socket.socket) -> int:
    """Pass one HTTP message on: its bytes, or 0 where the source hung up."""
    message = bytearray()
    try:
        while True:
            chunk = source.recv(65536)
            if not chunk:
                return 0
            message += chunk
            target.sendall(chunk)
            length = _length(message)
            if length is not None and len(message) >= length:
                return len(message)
    except OSError:
        return 0


def _length(message: bytearray) -> int | None:
    """The length of the message; one without Content-Length ends with its head."""
    try:
        return answer_length(message)
    except ValueError:
        return message.find(b"\r\n\r\n") + 4


class Agent(Subject):
    """Each measurement lasts two heartbeats of the same, running agent."""

    def __init__(self, name: str, bench: Bench, checkout: Path, python: Path) -> None:
        self.name = name
        self._folder = bench.fresh(f"agent-{name}")
        self._checkout, self._python = checkout, python
        self._seconds = 10.0 if bench.scale.quick else 2.0 * HEARTBEAT_SECONDS
        self._heartbeat = 2 if bench.scale.quick else HEARTBEAT_SECONDS
        self._server = Server30(self._folder, checkout, python, self._heartbeat)
        self._proxy: CountingProxy | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, say: Say) -> None:
        self._server.start()
        self._proxy = CountingProxy(self._server.port)
        with (self._folder / "agent.log").open("wb") as log:
            self._process = subprocess.Popen(
                self._command(self._proxy.port), cwd=self._checkout, env=self._environment(), stdout=log, stderr=log
            )
        self._await_worker()
        say(f"{self.name}: the agent settles for {self._seconds:.0f} seconds")
        time.sleep(self._seconds)

    def _command(self, port: int) -> list[str]:
        url, state = f"http://127.0.0.1:{port}", str(self._folder / "state")
        where = ["--url", url, "--state-dir", state, "--name", "idle", "--address", "127.0.0.1"]
        return [str(self._python), "-m", "muster_agent", *where, "--engine", "process", "--vllm-command", "true"]

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(self._checkout), str(self._checkout / "agent")])
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("MUSTER_")}
        return inherited | {"PYTHONPATH": path, "MUSTER_TOKEN": REGISTRATION_TOKEN}

    def _await_worker(self) -> None:
        """Raises RuntimeError with the agent's log where it does not register."""
        caller, until = Caller(self._server.port, ADMIN_KEY), time.monotonic() + REGISTER_SECONDS
        while not caller.call("GET", "/api/workers")["workers"]:
            if time.monotonic() > until:
                raise RuntimeError(f"the agent did not register: {(self._folder / 'agent.log').read_text()[-2000:]}")
            time.sleep(0.2)
        caller.close()

    def measure(self, case: str) -> dict[str, float]:
        assert self._process is not None and self._proxy is not None
        self._proxy.exchanges.clear()
        pids = [self._process.pid]
        before, began = processor_seconds(pids), time.monotonic()
        time.sleep(self._seconds)
        busy, lasted = processor_seconds(pids) - before, time.monotonic() - began
        exchanges = sorted(self._proxy.exchanges, key=lambda exchange: exchange.request)
        if not exchanges:
            raise RuntimeError("the agent sent no heartbeat")
        usual = exchanges[len(exchanges) // 2]
        memory = psutil.Process(self._process.pid).memory_info().rss / 2**20
        return {"cpu": 100 * busy / lasted, "memory": memory, "request": usual.request, "answer": usual.answer}

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        if self._proxy is not None:
            self._proxy.close()
        self._server.stop()


class Server30(Muster):
    """A control plane that asks for a heartbeat every `heartbeat` seconds, as in AWS."""

    def __init__(self, folder: Path, checkout: Path, python: Path, heartbeat: int) -> None:
        super().__init__(folder, checkout, python)
        self._heartbeat = heartbeat

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "MUSTER_HEARTBEAT": str(self._heartbeat)}


def figure(bench: Bench) -> Figure:
    subjects = [Agent(name, bench, checkout, python) for name, (checkout, python) in bench.checkouts().items()]
    others = [bench.reference_name] if bench.reference else []
    return Figure(
        name="agent",
        title="An idle agent",
        text=(
            f"The agent without deployments, with the engine for processes, and a heartbeat every {HEARTBEAT_SECONDS} "
            "seconds. Bytes are those of HTTP, heads included."
        ),
        cases=["idle"],
        metrics=METRICS,
        subjects=subjects,
        comparisons=[
            Comparison(metric, "Muster", other) for other in others for metric in ("cpu", "request", "memory")
        ],
    )
