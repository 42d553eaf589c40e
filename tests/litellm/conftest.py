"""The real LiteLLM proxy with a PostgreSQL of its own, a control plane, and real agents whose vLLM is the stand-in."""

from __future__ import annotations

import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.fixtures import ROOT
from tests.fixtures.http_client import Operator
from tests.fixtures.ports import free_port
from tests.fixtures.serve import ADMIN_KEY, REGISTRATION_TOKEN, Serve
from tests.fixtures.waiting import PATIENCE, eventually

MASTER_KEY = "sk-master-of-the-tests"
VENV = ROOT / ".venv-litellm"
HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """An empty database with LiteLLM's tables; its URL."""
    if not os.environ.get("MUSTER_TEST_LITELLM"):
        pytest.skip("the gateway is tested against the real LiteLLM proxy by make test-litellm")
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    assert found, "these tests need PostgreSQL: apt-get install postgresql"
    binaries, folder, port = found[-1], Path(tempfile.mkdtemp()), free_port()
    as_owner = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []  # it refuses to run as root
    if as_owner:
        shutil.chown(folder, "postgres", "postgres")

    def run(*command: str, stdin: Any = subprocess.DEVNULL) -> None:
        subprocess.run([*as_owner, *command], check=True, stdin=stdin, stdout=subprocess.DEVNULL, cwd="/")

    data = str(folder / "data")
    run(f"{binaries}/initdb", "-D", data, "-U", "postgres", "-A", "trust")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    run(f"{binaries}/pg_ctl", "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    try:
        with tempfile.TemporaryFile() as migrations:
            for each in sorted(VENV.glob("lib/*/site-packages/litellm_proxy_extras/migrations/*/migration.sql")):
                migrations.write(each.read_bytes() + b";\n")
            migrations.seek(0)
            run(f"{binaries}/psql", "-q", "-v", "ON_ERROR_STOP=1", url, stdin=migrations)
        yield url
    finally:
        run(f"{binaries}/pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Proxy:
    """LiteLLM, and what its clients ask of it."""

    url: str
    process: subprocess.Popen[bytes]

    def call(self, method: str, path: str, body: Any = None, key: str = MASTER_KEY) -> requests.Response:
        headers = {"Authorization": f"Bearer {key}"}
        return requests.request(method, self.url + path, json=body, headers=headers, timeout=PATIENCE)

    def models(self) -> dict[str, str]:
        """Ids to names."""
        found = self.call("GET", "/model/info").json()["data"]
        return {each["model_info"]["id"]: each["model_name"] for each in found}

    def chat(self, model: str) -> requests.Response:
        message = {"role": "user", "content": "hello"}
        return self.call("POST", "/v1/chat/completions", {"model": model, "messages": [message]})

    def answers(self, model: str, times: int = 30) -> set[str]:
        """Which processes answered. Raises AssertionError when one did not."""
        return {_process(self.chat(model)) for _ in range(times)}


def _process(got: requests.Response) -> str:
    """The stand-in says which process it is."""
    assert got.status_code == 200, got.text[:500]
    text = str(got.json()["choices"][0]["message"]["content"])
    return text.partition("Process ")[2].partition(" ")[0]


@pytest.fixture(scope="session")
def litellm(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder, port = tmp_path_factory.mktemp("litellm"), free_port()
    (folder / "config.yaml").write_text("general_settings: {master_key: os.environ/LITELLM_MASTER_KEY}\n")
    engine = str(HERE / "engine.mjs")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MUSTER_", "PYTEST_"))}
    environment |= {"PATH": f"{VENV}/bin:{os.environ['PATH']}", "GATEWAY_NODE_MODULES": f"{VENV}/node_modules"}
    environment |= {"PRISMA_QUERY_ENGINE_BINARY": engine, "PRISMA_SCHEMA_ENGINE_BINARY": engine}
    environment |= {"DATABASE_URL": postgres, "STORE_MODEL_IN_DB": "True", "DISABLE_SCHEMA_UPDATE": "true"}
    environment |= {
        "LITELLM_MASTER_KEY": MASTER_KEY,
        "LITELLM_SALT_KEY": "sk-salt",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [f"{VENV}/bin/litellm", "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    proxy = Proxy(f"http://127.0.0.1:{port}", process)
    try:
        wait(lambda: _lives(proxy), lambda: (folder / "log").read_text()[-4000:])
        yield proxy
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _lives(proxy: Proxy) -> bool:
    assert proxy.process.poll() is None
    try:
        return proxy.call("GET", "/health/liveliness").ok
    except requests.RequestException:
        return False


def wait(wanted: Callable[[], Any], otherwise: Callable[[], object] = lambda: "") -> float:
    """Wait until `wanted` holds; returns how long it took, in seconds. A failure ends with what `otherwise` returns."""
    start = time.monotonic()
    try:
        eventually(wanted)
    except AssertionError as error:
        error.add_note(str(otherwise()))
        raise
    return time.monotonic() - start


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    with Serve(tmp_path_factory.mktemp("serve") / "data") as serve:
        yield serve


@dataclass
class Fleet:
    """Real agents, whose models run on as processes when they are killed."""

    serve: Serve
    folder: Path
    agents: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def join(self, name: str, **labels: str) -> subprocess.Popen[bytes]:
        command = f"{sys.executable} {ROOT}/infra/fake_vllm.py"
        options = ["--url", self.serve.url, "--name", name, "--engine", "process", "--vllm-command", command]
        options += ["--address", "127.0.0.1", "--state-dir", str(self.folder / name)]
        options += [word for label in labels.items() for word in ("--label", "=".join(label))]
        environment = os.environ | {"MUSTER_TOKEN": REGISTRATION_TOKEN}
        with (self.folder / f"{name}.log").open("wb") as log:
            agent = subprocess.Popen(
                [sys.executable, "-m", "muster_agent", *options], cwd=ROOT, env=environment, stdout=log, stderr=log
            )
        self.agents.append(agent)
        return agent


@pytest.fixture(scope="session")
def operator(serve: Serve) -> Operator:
    return Operator(serve.url, ADMIN_KEY)


@pytest.fixture
def fleet(serve: Serve, operator: Operator, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(serve, tmp_path)
    try:
        yield fleet
        for agent in fleet.agents:
            agent.send_signal(signal.SIGCONT)
        for each in operator.get("/api/deployments").expect(200)["deployments"]:
            operator.post(f"/api/deployments/{each['deployment_id']}/stop").expect(200)
        wait(lambda: not _live(operator))
    finally:
        for agent in fleet.agents:
            agent.kill()
            agent.wait()


def _live(operator: Operator) -> list[str]:
    found = operator.get("/api/deployments").expect(200)["deployments"]
    return [each["name"] for each in found if each["status"] not in ("stopped", "error")]


@pytest.fixture
def sync(serve: Serve, litellm: Proxy) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `muster gateway sync` with more options, and with `environment` over its own."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str, **environment: str) -> subprocess.Popen[str]:
        secrets = {"MUSTER_URL": serve.url, "MUSTER_API_KEY": ADMIN_KEY, "LITELLM_MASTER_KEY": MASTER_KEY}
        command = [
            str(Path(sys.executable).parent / "muster"),
            "gateway",
            "sync",
            "--litellm-url",
            litellm.url,
            *options,
        ]
        variables = os.environ | secrets | environment
        started.append(subprocess.Popen(command, env=variables, text=True, stdout=subprocess.PIPE))
        return started[-1]

    yield start
    for each in started:
        each.terminate()
        each.wait()
