"""The current agent and control plane go on with what 0.1.0 left: its files, its processes, and its keys."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.fixtures.agent_process import Operator, ProcessHost
from tests.fixtures.kept_release import Release, ReleaseHost, ReleaseServe
from tests.fixtures.serve import Serve
from tests.fixtures.waiting import eventually

STABLE = "deployment_id name model backend config image gpus restart selector worker_id generation desired api_key"
NO_SECRETS = {"MUSTER_ADMIN_KEY": "", "MUSTER_REGISTRATION_TOKEN": ""}
"""A control plane that is given none knows only those of its DATA."""


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def serve(release: Release, tmp_path: Path, ends: ExitStack) -> Serve:
    """The current control plane on the DATA of 0.1.0."""
    release.copy_data(tmp_path / "data")
    serve = Serve(tmp_path / "data", MUSTER_HEARTBEAT="1", **NO_SECRETS)
    serve.start()
    ends.callback(serve.stop)
    return serve


@pytest.fixture
def operator(serve: Serve, release: Release) -> Operator:
    return Operator(serve.url, release.facts["admin_key"])


def test_the_control_plane_lists_the_workers_and_deployments_of_its_data(operator: Operator, release: Release) -> None:
    before = release.facts["lists"]
    (worker,), (worker_before,) = operator.call("GET", "/api/workers")["workers"], before["workers"]["workers"]
    for name in ("worker_id", "name", "registered_at", "labels", "system_info", "agent_version"):
        assert worker[name] == worker_before[name]
    deployments = {each["deployment_id"]: each for each in operator.call("GET", "/api/deployments")["deployments"]}
    assert len(deployments) == 4
    for each in before["deployments"]["deployments"]:
        found = deployments[each["deployment_id"]]
        assert {name: found[name] for name in STABLE.split()} == {name: each[name] for name in STABLE.split()}
    assert deployments[release.facts["stopped"]]["status"] == "stopped"
    assert deployments[release.facts["waiting"]]["status"] == "pending"


def test_the_control_plane_accepts_the_keys_of_its_data_and_no_revoked_one(serve: Serve, release: Release) -> None:
    facts = release.facts
    roles = {
        name: Operator(serve.url, facts[name]).call("GET", "/api/whoami")["role"]
        for name in ("admin_key", "viewer_key")
    }
    assert roles == {"admin_key": "admin", "viewer_key": "viewer"}
    bearer = {"Authorization": f"Bearer {facts['revoked_key']}"}
    assert requests.get(f"{serve.url}/api/whoami", headers=bearer, timeout=60).status_code == 401
    keys = Operator(serve.url, facts["admin_key"]).call("GET", "/api/api-keys")
    assert keys["api_keys"] == facts["lists"]["api-keys"]["api_keys"]


def test_a_host_joins_with_the_registration_token_of_the_data(
    serve: Serve, operator: Operator, release: Release, tmp_path: Path, ends: ExitStack
) -> None:
    host = ProcessHost(tmp_path, serve.url, name="newcomer", token=release.facts["registration_token"])
    host.start()
    ends.callback(host.end)
    names = eventually(
        lambda: [each["name"] for each in operator.call("GET", "/api/workers")["workers"]],
        lambda names: len(names) == 2,
        "the second worker",
    )
    assert sorted(names) == ["gpu-host", "newcomer"]


def test_the_agent_goes_on_with_its_state_folder(
    serve: Serve, operator: Operator, release: Release, tmp_path: Path, ends: ExitStack
) -> None:
    """The host lost its power: no model runs. One was running, one had ended, one was stopped."""
    facts = release.facts
    (tmp_path / "host").mkdir()
    release.copy_state(tmp_path / "host" / "state")
    assert len(outbox(tmp_path / "host" / "state")) == 1
    host = ProcessHost(tmp_path / "host", serve.url, name="gpu-host", token="mst_reg_not_needed")
    host.start()
    ends.callback(host.end)

    crashed = eventually(
        lambda: operator.see(facts["crashed"]),
        # The status may be an error before: a worker that was silent for days counts as lost.
        lambda seen: seen["status"] == "error" and "exit code 137" in seen["message"],
        "the report that waited",
    )
    assert crashed["last_crash"]["error_code"] == "CONTAINER_FAILED"
    eventually(lambda: outbox(tmp_path / "host" / "state"), lambda reports: reports == [], "an empty outbox")
    (worker,) = operator.call("GET", "/api/workers")["workers"]
    assert worker["worker_id"] == facts["lists"]["workers"]["workers"][0]["worker_id"]

    (pid,) = eventually(host.models, bool, "the model that was running")
    running = eventually(
        lambda: operator.see(facts["running"]),
        lambda seen: seen["status"] == "running" and answers(seen, pid),
        "the model that was running answers",
    )
    assert running["generation"] == facts_of(release, "running")["generation"]
    assert operator.see(facts["stopped"])["status"] == "stopped"
    assert host.models() == [pid]


def test_the_agent_adopts_a_model_that_an_agent_of_0_1_0_started(
    release: Release, tmp_path: Path, ends: ExitStack
) -> None:
    serve = Serve(tmp_path / "data", MUSTER_HEARTBEAT="1")
    serve.start()
    ends.callback(serve.stop)
    operator, before = Operator(serve.url), ReleaseHost(release, tmp_path, serve.url)
    before.start()
    ends.callback(before.end)
    deployment_id, models = a_running_model(operator, before)
    before.kill()
    after = ProcessHost(tmp_path, serve.url)
    after.start()
    ends.callback(after.end)
    carries_on(operator, after, deployment_id, models)


def test_the_control_plane_takes_over_the_data_of_0_1_0_while_a_model_runs(
    release: Release, tmp_path: Path, ends: ExitStack
) -> None:
    before = ReleaseServe(release, tmp_path / "data", MUSTER_HEARTBEAT="1")
    before.start()
    ends.callback(before.kill)
    operator, host = Operator(before.url), ReleaseHost(release, tmp_path, before.url)
    host.start()
    ends.callback(host.end)
    deployment_id, models = a_running_model(operator, host)
    before.stop()
    after = Serve(tmp_path / "data", MUSTER_HEARTBEAT="1")
    after.port, after.url = before.port, before.url
    after.start()
    ends.callback(after.stop)
    carries_on(operator, host, deployment_id, models)


def a_running_model(operator: Operator, host: ProcessHost) -> tuple[str, list[int]]:
    """The id of a new deployment that runs, and its processes."""
    eventually(lambda: operator.call("GET", "/api/workers")["workers"], bool, "the worker joined")
    deployment_id = operator.deploy(env={"STANDIN_LOAD_SECONDS": "0"})
    operator.reach(deployment_id, "running")
    return deployment_id, host.models()


def carries_on(operator: Operator, host: ProcessHost, deployment_id: str, models: list[int]) -> None:
    """The agent answers for the deployment, whose process stayed the same, and stops it."""
    path = f"/api/deployments/{deployment_id}/logs?lines=50"
    started = f"Started server process [{models[0]}]"
    eventually(lambda: operator.call("GET", path).get("logs", ""), lambda text: started in text, "the log")
    assert operator.reach(deployment_id, "running")["restarts"] == 0
    assert host.models() == models
    operator.call("POST", f"/api/deployments/{deployment_id}/stop")
    operator.reach(deployment_id, "stopped")
    assert host.models() == []


def facts_of(release: Release, name: str) -> Any:
    """The deployment of that name, as the API of 0.1.0 showed it."""
    return next(each for each in release.facts["lists"]["deployments"]["deployments"] if each["name"] == name)


def outbox(state: Path) -> list[Any]:
    """The reports that wait in the journal of a state folder."""
    with closing(sqlite3.connect(f"file:{state / 'journal.sqlite3'}?mode=ro", uri=True)) as journal:
        return journal.execute("SELECT about FROM spool").fetchall()


def answers(deployment: Any, pid: int) -> bool:
    """Whether that process answers at the endpoint of the deployment, behind its key."""
    try:
        answer = requests.post(
            f"{deployment['endpoint']}/v1/completions",
            json={"prompt": "marmalade"},
            headers={"Authorization": f"Bearer {deployment['api_key']}"},
            timeout=60,
        )
    except requests.ConnectionError:
        return False
    return answer.ok and str(pid) in answer.text
