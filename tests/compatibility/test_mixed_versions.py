"""An agent and a control plane of different versions work together: 0.1.0 and the current one, in both pairings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.fixtures.agent_process import Operator, ProcessHost
from tests.fixtures.kept_release import Release, ReleaseHost, ReleaseServe
from tests.fixtures.serve import Serve
from tests.fixtures.waiting import eventually


@dataclass(frozen=True)
class Pair:
    serve: Serve
    host: ProcessHost
    operator: Operator

    def worker(self) -> Any:
        (worker,) = eventually(lambda: self.operator.call("GET", "/api/workers")["workers"], bool, "the worker joined")
        return worker

    def logs(self, deployment_id: str) -> str:
        """The deployment's log, once the agent has answered with all of its start."""
        path = f"/api/deployments/{deployment_id}/logs?lines=50"
        logs = eventually(
            lambda: self.operator.call("GET", path).get("logs", ""),
            lambda text: "Application startup complete" in text,
            "the log of a started model",
        )
        return str(logs)


@pytest.fixture(scope="module", params=["agent of 0.1.0", "control plane of 0.1.0"])
def pair(request: pytest.FixtureRequest, release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    with ExitStack() as ends:
        if request.param == "agent of 0.1.0":
            serve = Serve(folder / "data", MUSTER_HEARTBEAT="1")
        else:
            serve = ReleaseServe(release, folder / "data", MUSTER_HEARTBEAT="1")
        serve.start()
        ends.callback(serve.stop)
        if request.param == "agent of 0.1.0":
            host: ProcessHost = ReleaseHost(release, folder, serve.url)
        else:
            host = ProcessHost(folder, serve.url)
        host.start()
        ends.callback(host.end)
        yield Pair(serve, host, Operator(serve.url))


@pytest.fixture
def deployment(pair: Pair) -> Iterator[Any]:
    """A running deployment, the only one of its pair."""
    pair.worker()
    deployment_id = pair.operator.deploy(env={"STANDIN_LOAD_SECONDS": "0"})
    yield pair.operator.reach(deployment_id, "running")
    pair.operator.call("POST", f"/api/deployments/{deployment_id}/stop")
    pair.operator.reach(deployment_id, "stopped")


def test_only_the_kept_files_of_the_release_can_be_imported(release: Release, tmp_path: Path) -> None:
    agent = release.origins(release.agent, "agent", "agent.__main__", "muster", "chalicelib.contract")
    control_plane = release.origins(release.control_plane, "app", "infra.local", "agent", "chalicelib.tables")
    assert all(Path(origin).is_relative_to(release.agent) for origin in agent), agent
    assert all(Path(origin).is_relative_to(release.control_plane) for origin in control_plane), control_plane
    assert release.origins(tmp_path, "agent", "app", "chalicelib", "infra", "tests") == [""] * 5


def test_one_of_the_two_runs_the_release_and_the_other_the_current_code(pair: Pair, release: Release) -> None:
    serve, agent = psutil.Process(pair.serve.process.pid), psutil.Process(pair.host.process.pid)
    assert pair.worker()["agent_version"]
    folders, pythons = [agent.cwd(), serve.cwd()], [agent.cmdline()[0], serve.cmdline()[0]]
    if isinstance(pair.host, ReleaseHost):
        assert pair.worker()["agent_version"] == "0.1.0"
        assert folders == [str(release.agent), str(Serve.root)]
        assert pythons[0] == release.python != pythons[1]
    else:
        assert folders == [str(ProcessHost.root), str(release.control_plane)]
        assert pythons[1] == release.python != pythons[0]


def test_a_worker_joins_and_is_online(pair: Pair) -> None:
    assert pair.worker()["name"] == pair.host.name
    eventually(lambda: pair.worker()["status"], lambda status: status == "online", "online")


def test_a_deployment_answers_at_its_endpoint(pair: Pair, deployment: Any) -> None:
    (pid,) = pair.host.models()
    answer = requests.post(
        f"{deployment['endpoint']}/v1/chat/completions",
        json={"model": "org/tiny", "messages": [{"role": "user", "content": "marmalade"}]},
        headers={"Authorization": f"Bearer {deployment['api_key']}"},
        timeout=60,
    ).json()
    said = answer["choices"][0]["message"]["content"]
    assert "marmalade" in said and str(pid) in said


def test_the_logs_of_a_deployment_are_fetched_from_the_worker(pair: Pair, deployment: Any) -> None:
    assert f"Started server process [{pair.host.models()[0]}]" in pair.logs(deployment["deployment_id"])


def test_an_agent_that_was_killed_adopts_its_model(pair: Pair, deployment: Any) -> None:
    before, session = pair.host.models(), pair.worker()["session"]
    pair.host.kill()
    pair.host.start()
    eventually(lambda: pair.worker()["session"], lambda found: found != session, "a new session of the worker")
    logs = pair.logs(deployment["deployment_id"])
    seen = pair.operator.reach(deployment["deployment_id"], "running")
    assert pair.host.models() == before
    assert f"Started server process [{before[0]}]" in logs
    assert (seen["restarts"], seen["container_id"]) == (0, deployment["container_id"])


def test_a_stopped_deployment_leaves_no_process(pair: Pair, deployment: Any) -> None:
    assert len(pair.host.models()) == 1
    pair.operator.call("POST", f"/api/deployments/{deployment['deployment_id']}/stop")
    pair.operator.reach(deployment["deployment_id"], "stopped")
    assert pair.host.models() == []
