"""muster gateway serve: what it refuses and says, and as a process with a real control plane, agent, and model."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest
import requests
from click.testing import CliRunner

from muster.cli.gateway_serve import serve as command
from muster.cli.main import muster
from muster.cli.shell import Shell
from muster.gateway.config import GatewayConfig
from tests.fixtures import ROOT
from tests.fixtures.agent_process import Operator
from tests.fixtures.gateway_rig import MODEL, TunnelHost
from tests.fixtures.http_client import session
from tests.fixtures.muster_process import bare_environment, finish, kill, start
from tests.fixtures.ports import free_port
from tests.fixtures.serve import ADMIN_KEY, Serve
from tests.fixtures.waiting import PATIENCE, eventually

PROGRAM = "from muster.cli import program; program()"
WITHOUT = "import sys; sys.modules[{!r}] = None; "


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    with Serve(tmp_path_factory.mktemp("serve") / "data", MUSTER_HEARTBEAT="1") as serve:
        yield serve


@pytest.fixture
def key(serve: Serve) -> str:
    return make_key(serve, "gateway")


def make_key(serve: Serve, role: str) -> str:
    return str(Operator(serve.url).call("POST", "/api/api-keys", {"name": "test", "role": role})["key"])


class Process:
    """`muster gateway serve` on a port of its own. `before` is Python that runs first."""

    def __init__(self, folder: Path, plane: str, key: str, *more: str, before: str = "") -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = bare_environment(folder, MUSTER_GATEWAY_KEY=key, MUSTER_GATEWAY_DATA=str(folder / "gateway"))
        environment |= {
            "MUSTER_GATEWAY_LISTEN": f"127.0.0.1:{self.port}",
            "MUSTER_GATEWAY_CONTROL_PLANE": plane,
        }
        words = [sys.executable, "-c", before + PROGRAM, "gateway", "serve", *more]
        self.child = start(list[str | Path](words), environment)

    def until(self, text: str) -> str:
        """The next line of standard error that has the text. Raises AssertionError if it ends before."""
        assert self.child.stderr is not None
        seen = []
        for line in self.child.stderr:
            seen.append(line)
            if text in line:
                return line
        raise AssertionError(f"{text!r} is not in {''.join(seen)}")

    def get(self, path: str, secret: str = "mst_key_x") -> requests.Response:
        headers = {"Authorization": f"Bearer {secret}"}
        return session().get(self.url + path, headers=headers, timeout=PATIENCE)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """The exit code, and the rest of both streams."""
        self.child.send_signal(number)
        out, err = finish(self.child)
        return self.child.returncode, out, err


@contextmanager
def serving(*arguments: Any, before: str = "") -> Iterator[Process]:
    process = Process(*arguments, before=before)
    try:
        yield process
    finally:
        kill(process.child)


# Before it serves


def usage(*words: str, **environment: str) -> str:
    """What it says to wrong options."""
    shell = Shell(environment={"XDG_CONFIG_HOME": "/nowhere", **environment})
    result = CliRunner().invoke(muster, ["gateway", "serve", *words], obj=shell, env=environment)
    assert result.exit_code == 2, result.output
    return result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "--control-plane: the URL of the control plane is missing"),
        (
            "--control-plane https://x",
            "--key: the gateway's API key is missing; an admin creates one: muster keys",
        ),
        ("--listen nowhere", "--listen: expected HOST:PORT"),
        (
            "--control-plane https://x --key k --listen 0.0.0.0:80",
            "--url: the public address of the gateway is missi",
        ),
        ("--control-plane https://x --key k --tls-cert /dev/null", "--tls-key: --tls-cert needs it too"),
        ("--control-plane https://x --key k --hold -1", "--hold: expected seconds from 0 to 3600"),
        ("--control-plane https://x --key k --selector lab", "--selector: expected KEY=VALUE"),
    ],
)
def test_a_wrong_option_is_a_usage_error_that_names_it(words: str, said: str) -> None:
    assert said in usage(*words.split())


def test_each_option_is_a_variable() -> None:
    options = [each for each in command.params if isinstance(each, click.Option) and each.expose_value]
    assert {each.name: each.envvar for each in options} == {
        each.name: f"MUSTER_GATEWAY_{str(each.name).upper()}" for each in options
    }
    said = usage(
        MUSTER_GATEWAY_SELECTOR="site=lab nothing", MUSTER_GATEWAY_CONTROL_PLANE="https://x", MUSTER_GATEWAY_KEY="k"
    )
    assert "--selector: expected KEY=VALUE, got 'nothing'" in said


def test_the_options_are_those_of_the_configuration() -> None:
    names = {each.name for each in command.params if each.expose_value}
    assert names == {*GatewayConfig.__dataclass_fields__, "listen", "path"} - {"host", "port", "paths"}


def test_the_control_plane_is_that_of_the_login_if_none_is_given() -> None:
    said = usage(MUSTER_URL="https://muster.example", MUSTER_API_KEY="mst_key_x")
    assert "--key: " in said


@pytest.mark.parametrize("module", ["uvicorn", "prometheus_client", "h2", "httptools", "websockets"])
def test_a_part_that_is_not_installed_is_named_with_the_command_that_mends_it(tmp_path: Path, module: str) -> None:
    with serving(tmp_path, "https://127.0.0.1:9", "k", before=WITHOUT.format(module)) as gateway:
        out, err = finish(gateway.child)
    assert (gateway.child.returncode, out) == (1, "")
    assert err == f"muster: {module} is not installed: pip install 'muster-gpu[gateway]'\n"


def test_a_port_in_use_ends_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with serving(tmp_path, "http://127.0.0.1:9", "k", "--listen", f"127.0.0.1:{port}") as gateway:
            _, err = finish(gateway.child)
    assert gateway.child.returncode == 1
    assert err == f"Error: cannot listen on 127.0.0.1 port {port}: the port is in use; give another --listen\n"


def test_a_folder_of_another_gateway_ends_it(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    with serving(tmp_path, nobody, "k") as first:
        first.until("Muster gateway")
        with serving(tmp_path, nobody, "k") as second:
            _, err = finish(second.child)
        assert second.child.returncode == 1 and "another gateway uses" in err and "--data" in err


def test_a_key_that_is_not_good_ends_it(serve: Serve, tmp_path: Path) -> None:
    reasons = {
        "mst_key_nobody": "the key is unknown, or was revoked",
        ADMIN_KEY: "the key has another role than gateway",
    }
    for secret, reason in reasons.items():
        with serving(tmp_path, serve.url, secret) as gateway:
            _, err = finish(gateway.child)
        assert gateway.child.returncode == 4 and secret not in err
        assert f"Error: {serve.url} refuses --key: {reason}; an admin creates one: muster keys create" in err


# While it serves


def test_it_says_what_it_serves_and_ends_at_a_signal(serve: Serve, key: str, tmp_path: Path) -> None:
    for number, code in ((signal.SIGTERM, 0), (signal.SIGINT, 130)):
        with serving(tmp_path, serve.url, key) as gateway:
            assert f"serves {gateway.url}/v1\n" in gateway.until("Muster gateway")
            gateway.until("No model runs yet: muster deploy MODEL")
            assert gateway.get("/healthz").json()["status"] == "reachable"
            listed = Operator(serve.url).call("GET", "/api/gateways")["gateways"]
            assert [each["url"] for each in listed] == [gateway.url]
            ended, _, err = gateway.end(number)
        assert ended == code and "Traceback" not in err
        assert Operator(serve.url).call("GET", "/api/gateways")["gateways"] == [], "it said goodbye"


def test_a_warning_is_said_before_keys_cross_a_network(tmp_path: Path) -> None:
    with serving(tmp_path, "http://127.0.0.1:9", "k", "--url", "http://192.0.2.1") as gateway:
        assert "warning: --url is plain HTTP" in gateway.until("warning")


def test_without_a_control_plane_and_without_routes_callers_get_503(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    with serving(tmp_path, nobody, "k") as gateway:
        said = gateway.until("Callers get 503")
        assert f"cannot reach {nobody}: the connection was refused" in said
        answer = gateway.get("/v1/models")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_serving")
        assert answer.headers["retry-after"] == "5"
        assert gateway.get("/healthz").status_code == 503
        assert gateway.end()[0] == 0


def test_a_gateway_that_starts_while_the_control_plane_is_away_serves_what_it_kept(
    serve: Serve, key: str, tmp_path: Path
) -> None:
    caller = make_key(serve, "caller")
    listen = ("--listen", f"127.0.0.1:{free_port()}")
    with serving(tmp_path, serve.url, key, *listen) as gateway:
        gateway.until("No model runs yet")
        gateway.url = f"http://{listen[1]}"
        assert gateway.get("/v1/models", caller).json()["data"] == []
        gateway.end()
    serve.stop()
    try:
        with serving(tmp_path, serve.url, key, *listen) as gateway:
            gateway.url = f"http://{listen[1]}"
            gateway.until("Serving the routes of ")
            assert gateway.get("/v1/models", caller).status_code == 200
            assert gateway.get("/v1/models", "mst_key_other").status_code == 401
            assert gateway.get("/healthz").json()["status"] == "unreachable"
    finally:
        serve.start()


def test_a_key_that_is_revoked_while_it_serves_ends_it(serve: Serve, tmp_path: Path) -> None:
    operator = Operator(serve.url)
    made = operator.call("POST", "/api/api-keys", {"name": "to revoke", "role": "gateway"})
    with serving(tmp_path, serve.url, str(made["key"])) as gateway:
        gateway.until("No model runs yet")
        operator.call("DELETE", f"/api/api-keys/{made['key_id']}")
        _, err = finish(gateway.child)
    assert gateway.child.returncode == 4 and "refuses --key: the key is unknown, or was revoked" in err
    assert not (tmp_path / "gateway" / "routes.json").exists()


# With a model


@pytest.fixture(scope="module")
def model(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a model that runs on a host that listens on nothing."""
    host = TunnelHost(tmp_path_factory.mktemp("host"), serve.url, "tunneled")
    host.environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "agent")])
    host.start()
    operator = Operator(serve.url)
    try:
        workers = eventually(lambda: operator.call("GET", "/api/workers")["workers"], what="the host to join")
        operator.reach(operator.deploy(name="tiny", model=MODEL, worker_id=workers[0]["worker_id"]), "running")
        yield MODEL
    finally:
        host.end()


def chat(gateway: Process, secret: str, model: str, **more: Any) -> requests.Response:
    """`user` is how many tokens the model sends in a second."""
    body = {"model": model, "messages": [{"role": "user", "content": "a secret prompt"}], "max_tokens": 5, **more}
    headers = {"Authorization": f"Bearer {secret}"}
    url = f"{gateway.url}/v1/chat/completions"
    return session().post(url, json=body, headers=headers, timeout=PATIENCE, stream=bool(more.get("stream")))


def test_a_model_answers_through_the_tunnel_and_its_use_arrives_at_the_control_plane(
    serve: Serve, key: str, model: str, tmp_path: Path
) -> None:
    caller = make_key(serve, "caller")
    with serving(tmp_path, serve.url, key) as gateway:
        gateway.until("Try it: curl")
        answer = eventually(lambda: chat(gateway, caller, model), lambda got: got.status_code == 200, "an answer")
        used = answer.json()["usage"]
        assert answer.json()["choices"][0]["message"]["content"]
        assert [each["id"] for each in gateway.get("/v1/models", caller).json()["data"]] == [model]
        metrics = gateway.get("/metrics").text
        assert f'muster_gateway_requests_total{{code="200",model="{model}"}}' in metrics
        assert "muster_gateway_tunnels 2.0" in metrics and "muster_gateway_control_plane_up 1.0" in metrics
        code, out, err = gateway.end()
    assert code == 0
    lines = [json.loads(line) for line in out.splitlines()]
    (line,) = [each for each in lines if each["status"] == 200 and each["path"] == "/v1/chat/completions"]
    assert line["model"] == model and line["worker"] == "tunneled" and line["ttft"] <= line["duration"]
    assert line["completion_tokens"] == used["completion_tokens"]
    for secret in (caller, key, "a secret prompt"):
        assert secret not in out and secret not in err
    (row,) = Operator(serve.url).call("GET", "/api/usage?by=model")["rows"]
    assert (row["model"], row["requests"], row["prompt_tokens"]) == (model, 1, used["prompt_tokens"])


def test_at_a_signal_running_streams_end_as_they_should(serve: Serve, key: str, model: str, tmp_path: Path) -> None:
    caller = make_key(serve, "caller")
    with serving(tmp_path, serve.url, key) as gateway:
        gateway.until("Try it: curl")
        eventually(lambda: chat(gateway, caller, model), lambda got: got.status_code == 200, "an answer")
        with chat(gateway, caller, model, stream=True, max_tokens=30, user="10") as answer:
            events = answer.iter_lines()
            assert next(events).startswith(b"data: ")
            gateway.child.send_signal(signal.SIGTERM)
            gateway.until("Waiting for 1 running requests to end")
            rest = [line for line in events if line]
        assert len(rest) == 30 and rest[-1] == b"data: [DONE]" and b'"error"' not in b"".join(rest)
        finish(gateway.child)
    assert gateway.child.returncode == 0


def test_a_second_signal_ends_it_at_once(serve: Serve, key: str, model: str, tmp_path: Path) -> None:
    caller = make_key(serve, "caller")
    with serving(tmp_path, serve.url, key) as gateway:
        gateway.until("Try it: curl")
        eventually(lambda: chat(gateway, caller, model), lambda got: got.status_code == 200, "an answer")
        with chat(gateway, caller, model, stream=True, max_tokens=100_000, user="1") as answer:
            next(answer.iter_lines())
            gateway.child.send_signal(signal.SIGINT)
            gateway.until("Waiting for 1 running requests to end; a second signal ends them now")
            assert gateway.end(signal.SIGINT)[0] == 1
