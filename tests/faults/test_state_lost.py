"""The agent's state folder is deleted, by somebody who took it for a cache: under a stopped agent, and a running one.

With it go the journal, the worker's token, and of the process engine all that says what its models are.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.rig import Plane, Supervisor, ask_for, delete, deploy, idle
from tests.fixtures.docker_agent import answers
from tests.fixtures.waiting import eventually


@pytest.mark.usefixtures("at_length")
def test_models_outlive_the_state_folder_of_a_stopped_agent(calm_plane: Plane, tmp_path: Path) -> None:
    outlive_the_state_folder(calm_plane, tmp_path, running=False)


def test_models_outlive_the_state_folder_of_a_running_agent(calm_plane: Plane, tmp_path: Path) -> None:
    outlive_the_state_folder(calm_plane, tmp_path, running=True)


def outlive_the_state_folder(calm_plane: Plane, tmp_path: Path, running: bool) -> None:
    operator, name = calm_plane.operator, f"forgetful-{running}"
    with idle(tmp_path / "host", calm_plane, name) as worker, Supervisor(worker) as supervisor:
        calm_plane.sees(name, "online")
        before = deploy(calm_plane, name)
        models = worker.instances()
        session = calm_plane.worker(name)["session"]
        if running:
            delete(worker.state)
            eventually(lambda: supervisor.starts, lambda count: count > 1, "it ends, since it cannot go on without")
            assert "is gone" in worker.said()
        else:
            with supervisor.paused():
                delete(worker.state)

        eventually(lambda: calm_plane.worker(name)["session"], lambda seen: seen > session, "the same worker is back")
        another = ask_for(calm_plane, name)
        operator.reach(another, "running")
        after = operator.reach(before["deployment_id"], "running")
        assert (after["container_id"], after["restarts"]) == (before["container_id"], 0)
        assert answers(after)
        assert [each for each in worker.instances() if each in models] == models, "adopted, neither killed nor doubled"
        assert len(worker.instances()) == 2
        for each in (another, before["deployment_id"]):
            operator.call("POST", f"/api/deployments/{each}/stop")
        for each in (another, before["deployment_id"]):
            operator.reach(each, "stopped")
        assert worker.instances() == []
