"""The archive as Lambda runs it, with a real agent at the other end: from nothing to a model and back."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

from tests.fixtures.agent_process import Operator, ProcessHost
from tests.fixtures.http_workers import Agent
from tests.fixtures.serve import ADMIN_KEY, REGISTRATION_TOKEN
from tests.fixtures.waiting import PATIENCE, eventually
from tests.infra.cloud.emulated import Cloud
from tests.infra.cloud.lambda_emulator import Form

MakeCloud = Callable[..., Cloud]


@pytest.mark.parametrize("form", ["http", "rest"])
def test_from_nothing_to_a_stopped_model(cloud: MakeCloud, form: Form, tmp_path: Path) -> None:
    here = cloud(form, MUSTER_HEARTBEAT="1")
    operator, host = Operator(here.url), ProcessHost(tmp_path, here.url, name=f"host-{form}")
    host.start()
    try:
        worker_id = eventually(lambda: _named(operator, host.name), bool, "the worker joined")
        hidden = {"STANDIN_LOAD_SECONDS": "0", "HF_TOKEN": "hf_a_secret_of_the_operator"}
        deployment_id = operator.deploy(env=hidden, worker_id=worker_id)
        seen = operator.reach(deployment_id, "running")
        logs = operator.call("GET", f"/api/deployments/{deployment_id}/logs?lines=50")["logs"]
        assert "Application startup complete" in logs
        operator.call("POST", f"/api/deployments/{deployment_id}/stop")
        operator.reach(deployment_id, "stopped")
        assert host.models() == []
    finally:
        host.end()
    lines = [json.loads(line) for line in here.function.log.read_text().splitlines()]
    beats = [line for line in lines if str(line.get("route")).endswith("/heartbeat")]
    assert beats and all(beat["worker_id"] and beat["request_id"] for beat in beats)
    assert any(line.get("deployment_id") == deployment_id for line in lines)
    given = (tmp_path / "agent.log").read_text()
    state = "".join(path.read_bytes().decode("latin-1") for path in (tmp_path / "state").rglob("*") if path.is_file())
    token = state[state.index("mst_wrk_") :][:60].split('"')[0]
    log = here.function.log.read_text()
    for secret in (ADMIN_KEY, REGISTRATION_TOKEN, hidden["HF_TOKEN"], seen["api_key"], token):
        assert len(secret) > 20 and secret not in log and secret[:24] not in log
    assert "Traceback" not in given + log


def _named(operator: Operator, name: str) -> str:
    workers = operator.call("GET", "/api/workers")["workers"]
    return next((str(worker["worker_id"]) for worker in workers if worker["name"] == name), "")


def _start_processes(here: Cloud, count: int) -> None:
    """Have as many frozen, so that no request of the test has to wait until one has started."""

    def ask(_: int) -> int:
        return requests.get(f"{here.url}/api/health", timeout=PATIENCE).status_code

    def started() -> int:
        with ThreadPoolExecutor(count) as threads:
            assert set(threads.map(ask, range(count))) == {200}
        return len(here.function.processes)

    eventually(started, lambda found: found == count, f"{count} processes")


def _logs(here: Cloud, agent: Agent, number: int) -> requests.Response:
    """What an operator gets who waits for a worker's answer as long as may be."""
    path = f"/api/workers/{agent.worker_id}/containers/c{number}/logs?wait=25"
    return requests.get(here.url + path, headers={"Authorization": f"Bearer {ADMIN_KEY}"}, timeout=PATIENCE)


def test_processes_are_frozen_between_requests(cloud: MakeCloud) -> None:
    here = cloud("http")
    assert requests.get(f"{here.url}/api/health", timeout=PATIENCE).json()["status"] == "ok"
    eventually(lambda: here.function.busy, lambda busy: not busy, "the request is over")
    (process,) = here.function.processes
    eventually(psutil.Process(process.pid).status, lambda status: status == psutil.STATUS_STOPPED, "frozen")
    assert requests.get(f"{here.url}/api/health", timeout=PATIENCE).json()["status"] == "ok"
    assert [each.pid for each in here.function.processes] == [process.pid], "thawed rather than started anew"


def test_waits_leave_functions_to_heartbeats(cloud: MakeCloud) -> None:
    here = cloud("http", concurrency=4, MUSTER_MAX_WAITS="2")
    _start_processes(here, 4)
    agent = Agent(here.url, REGISTRATION_TOKEN)
    agent.register()
    agent.beat()
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(_logs, here, agent, number) for number in range(2)]
        eventually(lambda: len(here.function.busy), lambda busy: busy == 2, "two wait")
        commands: dict[str, str] = {}
        while len(commands) < 2:
            commands |= {command["container_id"]: command["command_id"] for command in agent.commands()}
        assert _logs(here, agent, 2).status_code == 202
        assert not any(one.done() for one in waiting), "a third does not wait as long as those before it"
        for command_id in commands.values():
            agent.result(command_id, output={"logs": "x\n", "next_since": None, "truncated": False}).expect(200)
        assert [one.result().status_code for one in waiting] == [200, 200]
    assert here.function.most <= 4


def test_beyond_its_concurrency_a_function_is_throttled(cloud: MakeCloud) -> None:
    here = cloud("http", concurrency=1)
    agent = Agent(here.url, REGISTRATION_TOKEN)
    agent.register()
    agent.beat()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(_logs, here, agent, 0)
        (process,) = eventually(lambda: list(here.function.busy), what="one request waits")
        assert requests.get(f"{here.url}/api/health", timeout=PATIENCE).status_code == 429
        os.kill(process.pid, signal.SIGKILL)
        assert waiting.result().status_code == 502, "its process has ended"
    assert requests.get(f"{here.url}/api/health", timeout=PATIENCE).status_code == 200
    assert here.function.most == 1


def test_an_exception_is_one_line_of_json_with_its_trace_and_the_request_that_its_caller_was_told(
    cloud: MakeCloud,
) -> None:
    here = cloud("http", MUSTER_TABLE_PREFIX="there-is-none-")
    answer = requests.get(f"{here.url}/api/health", timeout=PATIENCE)
    assert answer.status_code == 500
    lines = [json.loads(line) for line in here.function.log.read_text().splitlines()]
    (error,) = [line for line in lines if "trace" in line]
    assert error["request_id"] in answer.json()["message"] and "ResourceNotFoundException" in error["trace"]
    assert [line["error_code"] for line in lines if line.get("route")] == ["INTERNAL_ERROR"]
