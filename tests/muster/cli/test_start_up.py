"""What a command imports, counted: commands start fast because they import little (ADR 42).

Each command runs in a process of its own, at a server that answers every list with one item and nothing else.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import msgspec
import pytest

from tests.fixtures.http_server import TcpServer, serving
from tests.fixtures.muster_process import bare_environment
from tests.fixtures.resources import DEPLOYMENT, WORKER
from tests.muster.cli.test_every_command import EVERY, line

HEAVY = {
    *("requests", "urllib3", "certifi", "rich", "pygments", "yaml", "asyncio", "logging"),
    *("importlib.metadata", "importlib.resources", "xml", "unittest", "docker", "psutil"),
}
"""Modules that no command needs, but for EXCEPT."""
EXCEPT = {
    "apply": {"yaml"},
    "explain": {"importlib.resources"},
    "gateway serve": {"requests", "urllib3", "certifi", "logging", "importlib.resources", "importlib.metadata"},
    "gateway sync": {"requests", "urllib3", "certifi", "logging", "importlib.resources", "importlib.metadata"},
    "top": {"rich"},
}
SCRIPT = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.__stderr__))
before = len(sys.modules)
from muster.cli import program
program()
"""
LISTS = {"deployments": [DEPLOYMENT], "workers": [WORKER], "events": [], "api_keys": [], "registration_tokens": []}
LISTS |= {"gateways": [], "rows": []}
ANSWER = msgspec.json.encode(
    {
        **LISTS,
        "since": "2026-12-01",
        "until": "2026-12-02",
        "status": "ok",
        "version": "x",
        "name": "somebody",
        "role": "viewer",
    }
)
MAX_MODULES = 230
"""Of a process that has run one command, Python's own among them; the commands of EXCEPT have more."""


class OneOfEach(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_list = self.command == "GET" and self.path.partition("?")[0].count("/") == 2
        body = ANSWER if is_list else b'{"error_code": "ROUTE_NOT_FOUND", "message": "nothing more"}'
        self.send_response(200 if is_list else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_DELETE = answer

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(TcpServer(("127.0.0.1", 0), OneOfEach)) as server:
        yield f"http://127.0.0.1:{server.server_address[1]}"


def run(words: str, url: str, folder: Path) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """The command in a process, and the modules that the process had in the end."""
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), "")
    environment = bare_environment(folder, MUSTER_URL=url, MUSTER_API_KEY="k", **proxies)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words.split()],
        capture_output=True,
        cwd=folder,
        env=environment,
        input="key\n",
        text=True,
    )
    return done, set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("name", EVERY)
def test_a_command_imports_little(url: str, tmp_path: Path, name: str) -> None:
    (tmp_path / "models.yaml").write_text("models: {m: {model: org/model, gpus: 0}}")
    more = {"apply": " --yes", "completion": " bash", "explain": " PORT_IN_USE", "login": f" {url}"}.get(name, "")
    done, modules = run(line(name) + more, url, tmp_path)
    ends = {"gateway sync": {1}, "gateway serve": {2}}.get(name, {0, 3})
    assert done.returncode in ends, done.stderr[:2000]
    assert "muster.cli.main" in modules
    assert modules & HEAVY == EXCEPT.get(name, set())
    assert len(modules) <= MAX_MODULES or name in EXCEPT


def test_ps_imports_little_where_it_has_something_to_show(url: str, tmp_path: Path) -> None:
    done, modules = run("ps", url, tmp_path)
    assert done.returncode == 0 and "http://10.0.0.7:20000" in done.stdout
    ours = {module for module in modules if module.startswith("muster.cli.")}
    assert ours == {
        f"muster.cli.{name}"
        for name in ("account", "commands", "main", "names", "output", "progress", "ps", "shell", "text")
    }


def test_the_version_imports_nothing(tmp_path: Path) -> None:
    done, modules = run("--version", "http://127.0.0.1:9", tmp_path)
    assert (done.returncode, done.stdout.partition(" ")[0]) == (0, "muster,")
    ours = {module for module in modules if module.startswith("muster")}
    assert ours == {"muster", "muster.api", "muster.api.version", "muster.cli"}
    assert not modules & {"click", "msgspec", "signal", "typing"}


def test_the_help_imports_no_command(tmp_path: Path) -> None:
    done, modules = run("--help", "http://127.0.0.1:9", tmp_path)
    assert done.returncode == 0 and "muster.cli.ps" not in modules and not modules & HEAVY
