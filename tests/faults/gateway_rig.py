"""A control plane, a gateway, and hosts that serve one model through tunnels, each a process that may be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.fixtures import ROOT
from tests.fixtures.agent_process import MARK, Operator, ProcessHost
from tests.fixtures.http_client import session
from tests.fixtures.ports import free_port
from tests.fixtures.serve import REGISTRATION_TOKEN, Serve
from tests.fixtures.waiting import PATIENCE, eventually

MODEL = "bench"
PROGRAM = "from muster.cli import program; program()"


class GatewayProcess:
    """`muster gateway serve` on a port of its own."""

    def __init__(self, folder: Path, control_plane: str, key: str, **options: str) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MUSTER_", "PYTEST_"))}
        self.environment = {**inherited, "MUSTER_GATEWAY_KEY": key}
        self._options = {"url": self.url, "listen": f"127.0.0.1:{self.port}", "control-plane": control_plane}
        self._options |= {"data": str(folder / "gateway"), **options}

    def start(self) -> None:
        """Returns once /healthz answers 200."""
        arguments = [word for name, value in self._options.items() for word in (f"--{name}", value)]
        with (self.folder / "gateway.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, "gateway", "serve", *arguments],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        eventually(self._is_up, what="the gateway to answer")

    def _is_up(self) -> bool:
        assert self.process.poll() is None, f"the gateway ended: {(self.folder / 'gateway.log').read_text()[-4000:]}"
        with suppress(requests.RequestException):
            return session().get(f"{self.url}/healthz", timeout=PATIENCE).status_code == 200
        return False

    def metric(self, name: str) -> float:
        """The sum of a metric's series; 0 while there are none."""
        text = session().get(f"{self.url}/metrics", timeout=PATIENCE).text
        lines = (line for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name)
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM, which ends the process. Raises AssertionError, and kills the process, where it does not."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise AssertionError("the gateway did not end at SIGTERM") from error
        finally:
            self.kill()


class TunnelHost(ProcessHost):
    """An agent on this machine whose model sends tokens at the rate that a request asks for."""

    def command(self) -> list[str]:
        arguments = ["--url", self.url, "--name", self.name, "--state-dir", str(self.folder / "state"), "--engine"]
        return [sys.executable, "-m", "muster_agent", *arguments, "process", "--vllm-command", self.model_command()]

    def model_command(self) -> str:
        return f"{sys.executable} -m bench.token_model"

    def marked(self) -> list[psutil.Process]:
        """The processes that the agent started, and the agent."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):  # others come and go
                if process.environ().get(MARK) == str(self.folder):
                    found.append(process)
        return found

    def lose(self) -> None:
        """Kill the agent, its child, and the models, as the loss of the host's power would."""
        for process in self.marked():
            with suppress(psutil.Error):
                process.kill()
        self.process.wait()

    def child(self) -> psutil.Process:
        """The process that holds the tunnels."""
        found = [each for each in self.marked() if "muster_agent.tunnel" in each.cmdline()]
        assert found, "the agent has no child for tunnels"
        return found[0]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The child is stopped: its connections stay open, and nothing is answered."""
        child = self.child()
        child.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(psutil.NoSuchProcess):
                child.send_signal(signal.SIGCONT)


class GatewayRig:
    """`hosts` serve MODEL; `gateway` is asked with the callers' key `key`."""

    def __init__(self, folder: Path, hosts: int, **options: str) -> None:
        self._stack = ExitStack()
        self._folder, self._count, self._options = folder, hosts, options
        self.serve = Serve(folder / "plane", MUSTER_HEARTBEAT="1")
        self.operator = Operator(self.serve.url)
        self.hosts: list[TunnelHost] = []

    def __enter__(self) -> GatewayRig:
        with self._stack:
            self._stack.enter_context(self.serve)
            keys = [self._key(role) for role in ("gateway", "caller")]
            self.gateway, self.key = GatewayProcess(self._folder, self.serve.url, keys[0], **self._options), keys[1]
            self.gateway.start()
            self._stack.callback(lambda: self.gateway.stop())
            for number in range(self._count):
                self._add(f"host-{number}")
            eventually(self.ready, what="all hosts to serve through tunnels")
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _key(self, role: str) -> str:
        return str(self.operator.call("POST", "/api/api-keys", {"name": role, "role": role})["key"])

    def _add(self, name: str) -> None:
        folder = self._folder / name
        folder.mkdir()
        token = self.operator.call("POST", "/api/registration-tokens", {})["token"] if name else REGISTRATION_TOKEN
        host = TunnelHost(folder, self.serve.url, name, str(token))
        host.environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "agent")])
        host.start()
        self._stack.callback(host.end)
        self.hosts.append(host)
        worker_id = eventually(lambda: self._worker_id(name), bool, f"{name} to join")
        self.operator.deploy(name=name, model=MODEL, worker_id=worker_id)

    def _worker_id(self, name: str) -> str | None:
        listed = self.operator.call("GET", "/api/workers")["workers"]
        return next((str(each["worker_id"]) for each in listed if each["name"] == name), None)

    def ready(self) -> bool:
        """Whether every host is connected, and every deployment runs."""
        if self.gateway.metric("muster_gateway_tunnel_workers") < self._count:
            return False
        listed = self.operator.call("GET", "/api/deployments")["deployments"]
        return len(listed) == self._count and all(each["status"] == "running" for each in listed)

    def ask(self, **body: Any) -> requests.Response:
        """A chat completion."""
        content = {"model": MODEL, "messages": [{"role": "user", "content": "Count."}], "max_tokens": 1, **body}
        headers = {"Authorization": f"Bearer {self.key}"}
        url = f"{self.gateway.url}/v1/chat/completions"
        return session().post(url, json=content, headers=headers, timeout=PATIENCE, stream=bool(body.get("stream")))
