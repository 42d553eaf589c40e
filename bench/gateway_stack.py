"""What stands between a caller and a model, as processes: Muster's gateway with an agent, or the floor's two relays.

Each has `port`, where callers ask; `pids`, the processes whose time the way costs; and `bearer`, the callers' key.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import psutil

from bench.servers import ADMIN_KEY, REGISTRATION_TOKEN, ROOT, Caller, Muster, free_port

READY_SECONDS = 120.0
STOP_SECONDS = 30.0
MODEL = "bench"
ASK = "from muster.cli import program; program()"


class Stack(ABC):
    """Processes that are started one after another, and ended in the opposite order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.bearer = ""
        self._processes: list[subprocess.Popen[bytes]] = []

    @abstractmethod
    def start(self) -> None:
        """Raises RuntimeError with a log's tail where a process ends or does not answer."""

    @property
    @abstractmethod
    def pids(self) -> list[int]: ...

    def memory(self) -> dict[str, int]:
        """Bytes resident, by the name of the process."""
        return {}

    def stop(self) -> None:
        for process in reversed(self._processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._processes = []

    def run(self, name: str, command: list[str], environment: Mapping[str, str] | None = None) -> int:
        """Start a process whose output goes to NAME.log. Returns its id."""
        self.folder.mkdir(parents=True, exist_ok=True)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MUSTER_"))}
        path = os.pathsep.join([str(ROOT), str(ROOT / "agent")])
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**inherited, "PYTHONPATH": path, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes.append(process)
        return process.pid

    def await_answer(self, name: str, port: int, method: str = "GET", path: str = "/", body: str = "") -> None:
        """Wait until the request is answered with 200. Raises RuntimeError with the tail of NAME.log."""
        until = time.monotonic() + READY_SECONDS
        while _status(port, method, path, body, self.bearer) != 200:
            if time.monotonic() > until or self._processes[-1].poll() is not None:
                raise RuntimeError(f"{name} does not answer:\n{(self.folder / f'{name}.log').read_text()[-2000:]}")
            time.sleep(0.05)


def _status(port: int, method: str, path: str, body: str, bearer: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {bearer}"}
    try:
        connection.request(method, path, body or None, headers)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def completion(tokens: int = 1) -> str:
    """The body of a request for an answer of so many tokens, which is not streamed."""
    messages = [{"role": "user", "content": "Count."}]
    return json.dumps({"model": MODEL, "messages": messages, "max_tokens": tokens}, separators=(",", ":"))


class BareModel(Stack):
    """No way at all: callers ask the model itself."""

    def start(self) -> None:
        self.port = free_port()
        self.run("model", [sys.executable, "-m", "bench.token_model", MODEL, "--port", str(self.port)])
        self.await_answer("model", self.port)

    @property
    def pids(self) -> list[int]:
        return []


class BareRelay(Stack):
    """The floor: the same library for HTTP/2, in two processes of `python`, and nothing else."""

    def __init__(self, folder: Path, python: Path) -> None:
        super().__init__(folder)
        self._python = python

    def start(self) -> None:
        model, back, self.port = free_port(), free_port(), free_port()
        self.run("model", [sys.executable, "-m", "bench.token_model", MODEL, "--port", str(model)])
        self.await_answer("model", model)
        relay = [str(self._python), "-m", "bench.bare_relay"]
        self._back = self.run("back", [*relay, "back", str(back), str(model)])
        self._await_listener(back)
        self._front = self.run("front", [*relay, "front", str(self.port), str(back)])
        self.await_answer("front", self.port)

    @property
    def pids(self) -> list[int]:
        return [self._front, self._back]

    def _await_listener(self, port: int) -> None:
        until = time.monotonic() + READY_SECONDS
        while not any(found.laddr.port == port for found in psutil.Process(self._back).net_connections()):
            if time.monotonic() > until:
                raise RuntimeError("the relay does not listen")
            time.sleep(0.02)


class MusterGateway(Stack):
    """A control plane, a gateway, and an agent with the model, each a process; the agent's child holds the tunnels."""

    def __init__(self, folder: Path, python: Path) -> None:
        super().__init__(folder)
        self._python = python
        self.plane = Muster(folder / "plane", ROOT, python)

    def start(self) -> None:
        self.plane.start()
        caller = Caller(self.plane.port, ADMIN_KEY)
        key = caller.call("POST", "/api/api-keys", {"name": "gateway", "role": "gateway"})["key"]
        self.bearer = caller.call("POST", "/api/api-keys", {"name": "app", "role": "caller"})["key"]
        self._key = key
        self.port = free_port()
        self.start_gateway()
        agent = self._start_agent()
        caller.call("POST", "/api/deployments", {"name": MODEL, "model": MODEL, "gpus": 0})
        self.await_answer("agent", self.port, "POST", "/v1/chat/completions", completion())
        caller.close()
        self._child = next(
            child.pid
            for child in psutil.Process(agent).children(recursive=True)
            if "muster_agent.tunnel" in child.cmdline()
        )

    def start_gateway(self) -> None:
        """Start the gateway, and wait until it answers. Raises RuntimeError."""
        url = f"http://127.0.0.1:{self.port}"
        command = [str(self._python), "-c", ASK, "gateway", "serve", "--url", url, "--listen", f"127.0.0.1:{self.port}"]
        command += ["--control-plane", f"http://127.0.0.1:{self.plane.port}", "--data", str(self.folder / "gateway")]
        self.gateway = self.run("gateway", command, {"MUSTER_GATEWAY_KEY": self._key})
        self.await_answer("gateway", self.port, path="/healthz")

    def kill_gateway(self) -> None:
        """End the gateway as a crash would."""
        process = next(process for process in self._processes if process.pid == self.gateway)
        process.kill()
        process.wait()
        self._processes.remove(process)

    def _start_agent(self) -> int:
        model = f"{sys.executable} -m bench.token_model"
        where = ["--url", f"http://127.0.0.1:{self.plane.port}", "--state-dir", str(self.folder / "state")]
        command = [str(self._python), "-m", "muster_agent", *where, "--name", "bench", "--engine", "process"]
        return self.run("agent", [*command, "--vllm-command", model], {"MUSTER_TOKEN": REGISTRATION_TOKEN})

    @property
    def pids(self) -> list[int]:
        return [self.gateway, self._child]

    def memory(self) -> dict[str, int]:
        return {"gateway": _resident(self.gateway), "child": _resident(self._child)}

    def stop(self) -> None:
        super().stop()
        self.plane.stop()


def _resident(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)
