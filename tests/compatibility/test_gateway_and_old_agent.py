"""A gateway reaches a model of a 0.1.0 agent where an operator pinned its address; the agent is offered no tunnel."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from tests.fixtures.agent_process import Operator
from tests.fixtures.gateway_rig import GatewayProcess
from tests.fixtures.http_client import session
from tests.fixtures.kept_release import Release, ReleaseHost
from tests.fixtures.serve import Serve
from tests.fixtures.waiting import PATIENCE, eventually

MODEL = "org/tiny"
READ = """
import sys
import msgspec
from chalicelib.contract import messages
kinds = {"register": messages.Registered, "heartbeat": messages.HeartbeatAnswer}
for line in sys.stdin.buffer:
    kind, _, answer = line.partition(b" ")
    if kind.decode() in kinds:
        print(kind.decode(), msgspec.json.decode(answer, type=kinds[kind.decode()]))
"""
"""Run by the release: it reads the answers as its agent does."""


class Between:
    """A proxy in front of a control plane that keeps the answers to an agent: the end of the path, and the body."""

    def __init__(self, upstream: str) -> None:
        self.answers: list[tuple[str, bytes]] = []
        between = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                own = ("host", "connection")
                passed = {name: value for name, value in self.headers.items() if name.lower() not in own}
                url = upstream + self.path
                answer = session().request(self.command, url, data=body, headers=passed, timeout=PATIENCE)
                between.answers.append((self.path.rpartition("/")[2], answer.content))
                self.send_response(answer.status_code)
                for name in ("Content-Type", "Date", "Retry-After"):
                    if name in answer.headers:
                        self.send_header(name, answer.headers[name])
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            do_GET = do_POST

            def send_response(self, code: int, message: str | None = None) -> None:
                self.send_response_only(code, message)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass(frozen=True)
class Fleet:
    operator: Operator
    gateway: GatewayProcess
    host: ReleaseHost
    between: Between
    key: str

    def worker(self) -> Any:
        (worker,) = eventually(lambda: self.operator.call("GET", "/api/workers")["workers"], bool, "the worker to join")
        return worker

    def ask(self, text: str) -> requests.Response:
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}]}
        headers = {"Authorization": f"Bearer {self.key}"}
        url = f"{self.gateway.url}/v1/chat/completions"
        return session().post(url, json=body, headers=headers, timeout=PATIENCE)

    def refusal(self, text: str) -> str | None:
        """The code of the error; None where there is none."""
        answer = self.ask(text)
        return None if answer.ok else str(answer.json()["error"]["code"])

    def routes(self) -> str:
        key = self.gateway.environment["MUSTER_GATEWAY_KEY"]
        headers = {"Authorization": f"Bearer {key}"}
        return session().get(f"{self.operator.url}/api/gateway/routes", headers=headers, timeout=PATIENCE).text


@pytest.fixture(scope="module")
def fleet(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("old-agent")
    with ExitStack() as ends:
        serve = ends.enter_context(Serve(folder / "data", MUSTER_HEARTBEAT="1"))
        operator = Operator(serve.url)
        keys = [_key(operator, role) for role in ("gateway", "caller")]
        gateway = GatewayProcess(folder, serve.url, keys[0], hold="1")
        gateway.start()
        ends.callback(gateway.stop)
        between = Between(serve.url)
        ends.callback(between.close)
        host = ReleaseHost(release, folder, between.url)
        host.start()
        ends.callback(host.end)
        yield Fleet(operator, gateway, host, between, keys[1])


def _key(operator: Operator, role: str) -> str:
    return str(operator.call("POST", "/api/api-keys", {"name": role, "role": role})["key"])


def test_a_model_of_an_old_agent_is_reached_where_an_operator_pinned_its_address(fleet: Fleet) -> None:
    worker = fleet.worker()
    assert worker["agent_version"] == "0.1.0"
    deployment_id = fleet.operator.deploy(env={"STANDIN_LOAD_SECONDS": "0"})
    fleet.operator.reach(deployment_id, "running")
    eventually(fleet.routes, lambda found: MODEL in found, "the routes to have the model")

    eventually(lambda: fleet.refusal("x"), lambda code: code == "no_worker_connected", "no tunnel leads there")

    fleet.operator.call("PATCH", f"/api/workers/{worker['worker_id']}", {"address": fleet.host.address})
    answer = eventually(lambda: fleet.ask("marmalade"), lambda answer: answer.status_code == 200, "a direct answer")
    said = answer.json()["choices"][0]["message"]["content"]
    (pid,) = fleet.host.models()
    assert "marmalade" in said and str(pid) in said
    (replica,) = json.loads(fleet.routes())["replicas"]
    assert replica["endpoint"].startswith(f"http://{fleet.host.address}:") and not replica.get("tunnel")
    assert fleet.gateway.metric("muster_gateway_tunnels") == 0

    fleet.operator.call("POST", f"/api/deployments/{deployment_id}/stop")
    fleet.operator.reach(deployment_id, "stopped")
    eventually(lambda: fleet.ask("x").status_code, lambda status: status in (404, 503), "the model to be gone")


def test_an_old_agent_gets_nothing_that_it_cannot_read(fleet: Fleet, release: Release) -> None:
    """By the answers that it got from a control plane with a gateway, through ten heartbeats and more."""

    def heartbeats() -> list[bytes]:
        return [answer for path, answer in fleet.between.answers if path == "heartbeat"]

    eventually(heartbeats, lambda found: len(found) > 20, "twenty heartbeats, of which two reconcile")
    answers = list(fleet.between.answers)
    for path, answer in answers:
        assert b"mst_tkt_" not in answer and b"gateway" not in answer and b"direct_wait" not in answer, path
    lines = b"".join(path.encode() + b" " + answer.replace(b"\n", b" ") + b"\n" for path, answer in answers)
    read = subprocess.run(
        [release.python, "-c", READ], input=lines, cwd=release.agent, check=True, capture_output=True
    ).stdout.decode()
    kinds = [line.partition(" ")[0] for line in read.splitlines()]
    assert kinds.count("register") >= 1 and kinds.count("heartbeat") > 20
    assert "gateways" not in {path for path, _ in answers}, "it asks for no tickets"
