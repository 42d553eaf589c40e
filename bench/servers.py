"""The servers that are measured: started as processes on a free port, filled over HTTP, and stopped.

Each is a black box. What differs between them is how a worker joins, and which bytes its own agent sends.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import psutil

ROOT = Path(__file__).resolve().parents[1]
ADMIN_KEY = "muster_key_benchmark_" + "a1" * 20
REGISTRATION_TOKEN = "muster_reg_benchmark_" + "b2" * 20
START_SECONDS = 300.0
STOP_SECONDS = 30.0
REGISTERING_CONNECTIONS = 4
LMSTACK_STARTS = 5
LMSTACK_ATTEMPTS = 10
GIB = 1024**3


class NotMeasured(Exception):
    """A figure that cannot be had here; the text is the reason, which the report shows."""


@dataclass(frozen=True)
class Worker:
    """What a server gave a worker that registered. `token` is empty where heartbeats need none."""

    number: int
    identity: str
    token: str = ""
    session: int = 0


class Caller:
    """One kept connection on which JSON is sent and received."""

    def __init__(self, port: int, bearer: str = "") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"Content-Type": "application/json"}
        if bearer:
            self._headers["Authorization"] = f"Bearer {bearer}"

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The parsed answer. Raises RuntimeError for a status that is not 2xx."""
        data = None if body is None else json.dumps(body).encode()
        self._connection.request(method, path, data, self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status // 100 != 2:
            self._connection.close()  # some servers close it after an error, without a word
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:300]!r}")
        return json.loads(content)

    def close(self) -> None:
        self._connection.close()


def request(method: str, path: str, body: Any = None, bearer: str = "", encoding: str = "") -> str:
    """A complete HTTP request as an agent's client sends it, as Latin-1 text. `encoding` is an Accept-Encoding."""
    content = "" if body is None else json.dumps(body, separators=(",", ":"))
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "User-Agent: benchmark", "Accept: */*"]
    if bearer:
        lines.append(f"Authorization: Bearer {bearer}")
    if encoding:
        lines.append(f"Accept-Encoding: {encoding}")
    if content:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "", content])


def gpu_usage() -> list[dict[str, int]]:
    return [{"index": index, "memory_used": 45 * 10**9, "utilization": 85} for index in range(2)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server(ABC):
    """A process, or a tree of them, that listens on `port` and keeps everything in `folder`."""

    name: ClassVar[str]
    ready_path: ClassVar[str]
    """Answers 200 once the server is up and its database answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]: ...

    def environment(self) -> Mapping[str, str]:
        return {}

    def working_directory(self) -> Path:
        return ROOT

    def start(self) -> float:
        """Returns the seconds until the server answered. Raises RuntimeError with the log's tail if it ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port()
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MUSTER_", "LMSTACK_"))}
        began = time.perf_counter()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.working_directory(),
                env={**inherited, **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            while not self._ready():
                if self.process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                    raise RuntimeError(f"{self.name} did not start:\n{self.log.read_text()[-2000:]}")
                time.sleep(0.005)
        except BaseException:
            self.stop()
            raise
        return time.perf_counter() - began

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def _ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_SECONDS)
        try:
            connection.request("GET", self.ready_path)
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def pids(self) -> list[int]:
        """The server's processes."""
        if self.process is None:
            return []
        root = psutil.Process(self.process.pid)
        return [root.pid, *(child.pid for child in root.children(recursive=True))]

    def memory(self) -> int:
        """Bytes resident in all its processes together."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += psutil.Process(pid).memory_info().rss
        return total

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def register(self, count: int, progress: Callable[[int], None] = lambda done: None) -> list[Worker]:
        """Register workers 0 to `count` - 1, on a few connections beside each other."""
        local = threading.local()
        done = iter(range(1, count + 1))

        def one(number: int) -> Worker:
            if not hasattr(local, "caller"):
                local.caller = Caller(self.port, self.bearer())
            worker = self.join(local.caller, number)
            progress(next(done))
            return worker

        with ThreadPoolExecutor(REGISTERING_CONNECTIONS) as pool:
            return list(pool.map(one, range(count)))

    def bearer(self) -> str:
        """What an operator sends as Bearer."""
        return ""

    def join(self, caller: Caller, number: int) -> Worker:
        raise NotMeasured(f"{self.name} has no workers")

    def heartbeats(self, workers: Sequence[Worker]) -> list[str]:
        """An idle heartbeat of each worker, as its own agent sends it."""
        raise NotMeasured(f"{self.name} has no heartbeats")

    def page(self, position: Any = None) -> str:
        """The path of a page of workers; `position` is what `next_page` returned for the page before."""
        raise NotMeasured(f"{self.name} has no list")

    def next_page(self, answer: Any) -> Any:
        """Where the next page begins; None after the last."""
        raise NotMeasured(f"{self.name} has no list")

    def list_paths(self) -> list[str]:
        """The paths that list all workers, page by page, found by following the pages once."""
        caller, position, paths = Caller(self.port, self.bearer()), None, []
        while True:
            paths.append(self.page(position))
            position = self.next_page(caller.call("GET", paths[-1]))
            if position is None:
                caller.close()
                return paths


class Muster(Server):
    """`make serve` of a checkout, which is the working tree or another commit's."""

    name = "Muster"
    ready_path = "/api/health"

    def __init__(self, folder: Path, checkout: Path = ROOT, python: Path | None = None) -> None:
        super().__init__(folder)
        self._checkout = checkout
        self._python = python or checkout / ".venv" / "bin" / "python"

    def command(self) -> list[str]:
        address = ["--host", "127.0.0.1", "--port", str(self.port)]
        return [str(self._python), "-m", "infra.local", "serve", *address, "--data", str(self.folder / "data")]

    def working_directory(self) -> Path:
        return self._checkout

    def environment(self) -> Mapping[str, str]:
        # An editable installation names the working tree: the checkout comes before it.
        path = os.pathsep.join([str(self._checkout), str(self._checkout / "agent")])
        return {"PYTHONPATH": path, "MUSTER_ADMIN_KEY": ADMIN_KEY, "MUSTER_REGISTRATION_TOKEN": REGISTRATION_TOKEN} | {
            "MUSTER_SERVE_GATEWAY": "0"  # measured by itself
        }

    def bearer(self) -> str:
        return ADMIN_KEY

    def registration(self, number: int) -> dict[str, Any]:
        device = {"name": "NVIDIA A100-SXM4-80GB", "memory_total": 80 * GIB, "cuda_version": "12.4"}
        devices = [device | {"index": index, "uuid": f"GPU-{number:08d}-{index}"} for index in range(2)]
        return {
            "name": f"worker-{number:05d}",
            "token": REGISTRATION_TOKEN,
            "gpu_info": {"count": 2, "devices": devices},
            "system_info": {
                "hostname": f"host-{number:05d}",
                "cpu_count": 64,
                "memory_total": 256 * GIB,
                "os": "Linux",
            },
            "machine_id": f"machine-{number:05d}",
            "boot_id": f"boot-{number:05d}",
        }

    def join(self, caller: Caller, number: int) -> Worker:
        given = caller.call("POST", "/api/workers/register", self.registration(number))
        return Worker(number, given["worker_id"], given["token"], given["session"])

    def heartbeat(self, worker: Worker) -> dict[str, Any]:
        usual = {"status": "online", "gpu_usage": gpu_usage(), "active_deployments": []}
        return usual | {"session": worker.session, "journal_id": f"journal-{worker.number:05d}"}

    def heartbeats(self, workers: Sequence[Worker]) -> list[str]:
        """With the inbox that the control plane gave, so that there is nothing to look up: three beats settle that."""

        def settled(worker: Worker) -> str:
            caller, body = Caller(self.port, worker.token), self.heartbeat(worker)
            path = f"/api/workers/{worker.identity}/heartbeat"
            for _ in range(2):
                body["inbox"] = caller.call("POST", path, body)["inbox"]
            caller.close()
            return request("POST", path, body, worker.token)

        with ThreadPoolExecutor(REGISTERING_CONNECTIONS) as pool:
            return list(pool.map(settled, workers))

    def page(self, position: Any = None) -> str:
        return "/api/workers?limit=500" + (f"&next_token={position}" if position else "")

    def next_page(self, answer: Any) -> Any:
        return answer["next_token"]


class FastApi(Server):
    """bench/fastapi_server.py by uvicorn with its defaults: one process, uvloop, httptools, an access log."""

    name = "FastAPI"
    ready_path = "/api/workers?limit=1"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "uvicorn", "bench.fastapi_server:app", "--port", str(self.port)]

    def environment(self) -> Mapping[str, str]:
        return {"DATABASE": str(self.folder / "fastapi.db")}

    def join(self, caller: Caller, number: int) -> Worker:
        device = {"name": "NVIDIA A100-SXM4-80GB", "memory_total": 80 * GIB, "cuda_version": "12.4"}
        devices = [device | {"index": index, "uuid": f"GPU-{number:08d}-{index}"} for index in range(2)]
        body = {"name": f"worker-{number:05d}", "gpu_info": {"count": 2, "devices": devices}}
        given = caller.call("POST", "/api/workers/register", body)
        return Worker(number, str(given["worker_id"]), given["token"])

    def heartbeats(self, workers: Sequence[Worker]) -> list[str]:
        body = {"status": "online", "gpu_usage": gpu_usage(), "active_deployments": []}
        return [request("POST", f"/api/workers/{worker.identity}/heartbeat", body, worker.token) for worker in workers]

    def page(self, position: Any = None) -> str:
        return "/api/workers?limit=500" + (f"&after={position}" if position else "")

    def next_page(self, answer: Any) -> Any:
        return answer["next"]


class BareHttp(Server):
    """The floor: what asyncio needs to receive these bytes and to answer."""

    name = "bare HTTP"
    ready_path = "/"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "bench.bare_http", str(self.port)]

    def heartbeats(self, workers: Sequence[Worker]) -> list[str]:
        body = {"status": "online", "gpu_usage": gpu_usage(), "active_deployments": []}
        path = "/api/workers/9a03e0ea-aab1-42a5-a15d-b8bec838db11/heartbeat"
        return [request("POST", path, body, "mst_wrk_" + "c3" * 32)]


class LmStack(Server):
    """LMStack's backend from a checkout, in its own environment, started as its Dockerfile does.

    The database is its default, SQLite over aiosqlite. `processes` is 4 in its Dockerfile.
    """

    name = "LMStack"
    ready_path = "/health"

    def __init__(self, folder: Path, checkout: Path, python: Path, processes: int = 4) -> None:
        super().__init__(folder)
        self._backend, self._python, self._processes = checkout / "backend", python, processes
        self._admin = ""

    def command(self) -> list[str]:
        address = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", str(self._processes)]
        return [str(self._python), "-m", "uvicorn", "app.main:app", *address]

    def working_directory(self) -> Path:
        return self._backend

    def environment(self) -> Mapping[str, str]:
        return {
            "LMSTACK_DATABASE_URL": f"sqlite+aiosqlite:///{self.folder / 'lmstack.db'}",
            "LMSTACK_DATA_DIR": str(self.folder),
            "LMSTACK_SECRET_KEY": "one for all processes of this benchmark",
        }

    def start(self) -> float:
        """Its first start may end before all tables are made, since one index is defined twice: a later one goes on."""
        seconds = super().start()
        for _ in range(LMSTACK_STARTS):
            try:
                self._set_up()
            except RuntimeError:
                self.stop()
                seconds = super().start()
            else:
                return seconds
        raise RuntimeError(f"LMStack did not make its tables in {LMSTACK_STARTS} starts")

    def _set_up(self) -> None:
        caller = Caller(self.port)
        if not caller.call("GET", "/api/auth/setup/status")["initialized"]:
            account = {"username": "admin", "password": "benchmark-1", "email": "admin@example.com"}
            self._admin = caller.call("POST", "/api/auth/setup", account)["access_token"]
        caller.close()

    def bearer(self) -> str:
        return self._admin

    def join(self, caller: Caller, number: int) -> Worker:
        """A registration token for each worker, as its console makes them.

        Several processes on one SQLite file sometimes answer 500, "database is locked": then another name is tried.
        """
        for attempt in range(LMSTACK_ATTEMPTS - 1):
            with contextlib.suppress(RuntimeError):
                return self._join(caller, number, f"worker-{number:05d}-{attempt}")
        return self._join(caller, number, f"worker-{number:05d}-last")

    def _join(self, caller: Caller, number: int, name: str) -> Worker:
        token = caller.call("POST", "/api/workers/tokens", {"name": name})["token"]
        body = {"name": name, "address": f"127.0.0.1:{52001 + number % 1000}", "registration_token": token}
        given = caller.call("POST", "/api/workers", body | self._host())
        return Worker(number, str(given["id"]))

    def _host(self) -> dict[str, Any]:
        """The figures that its worker sends with each heartbeat, with the fields of its own schema."""
        gpus = [
            {
                "index": index,
                "name": "NVIDIA A100-SXM4-80GB",
                "memory_total": 80 * GIB,
                "memory_used": 45 * 10**9,
                "memory_free": 80 * GIB - 45 * 10**9,
                "utilization": 85,
                "temperature": 60,
            }
            for index in range(2)
        ]
        system = {
            "cpu": {"percent": 12.5, "count": 64, "freq_mhz": 2400.0},
            "memory": {"total": 256 * GIB, "used": 64 * GIB, "free": 192 * GIB, "percent": 25.0},
            "disk": {"total": 1000 * GIB, "used": 100 * GIB, "free": 900 * GIB, "percent": 10.0},
        }
        return {"gpu_info": gpus, "system_info": system}

    def heartbeats(self, workers: Sequence[Worker]) -> list[str]:
        """Without a credential: LMStack's heartbeats have none."""
        return [
            request(
                "POST", "/api/workers/heartbeat", {"worker_id": int(worker.identity), "status": "online"} | self._host()
            )
            for worker in workers
        ]

    def page(self, position: Any = None) -> str:
        return f"/api/workers?limit=100&skip={position or 0}"

    def next_page(self, answer: Any) -> Any:
        self._listed = getattr(self, "_listed", 0) + len(answer["items"])
        if self._listed < answer["total"]:
            return self._listed
        self._listed = 0
        return None
