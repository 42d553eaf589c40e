"""An older database in the place of the one there was: the fleet is ahead of it, and is not made to pay for that.

Before the copy two deployments run. After it one is changed, the other stopped, a third made, and the agent registers
again: of all that the control plane knows nothing any more.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.conftest import Planes
from tests.faults.rig import ask_for, deploy, host
from tests.fixtures.docker_agent import answers
from tests.fixtures.waiting import eventually


@pytest.mark.usefixtures("at_length")
def test_an_older_database_stops_nobodys_models(planes: Planes, tmp_path: Path) -> None:
    with planes(tmp_path) as plane, host(tmp_path / "host", plane, "host") as worker:
        operator = plane.operator
        changed, stopped = (ask_for(plane, "host", config={"seed": 1}) for _ in range(2))
        for each in (changed, stopped):
            operator.reach(each, "running")
        plane.save(tmp_path / "older")

        operator.call("PATCH", f"/api/deployments/{changed}", {"config": {"seed": 2}})
        operator.call("POST", f"/api/deployments/{stopped}/stop")
        unknown = deploy(plane, "host", config={"seed": 3})
        operator.reach(changed, "running")
        operator.reach(stopped, "stopped")
        session = plane.worker("host")["session"]
        worker.kill()
        worker.start()
        eventually(lambda: plane.worker("host")["session"], lambda seen: seen > session, "it is back")
        ahead = operator.reach(changed, "running")
        session = plane.worker("host")["session"]
        models = worker.instances()
        assert sorted(each.seed or 0 for each in models) == [2, 3]

        plane.stop()
        plane.restore(tmp_path / "older")
        plane.start()
        plane.sees("host", "online")
        eventually(lambda: plane.worker("host")["session"], lambda seen: seen > session, "its session grows")
        eventually(lambda: plane.worker("host")["orphans"], bool, "what is unknown is shown")
        assert plane.worker("host")["orphans"] == [unknown["deployment_id"]]
        assert worker.instances() == models, "nothing was killed, nothing started"
        assert answers(unknown) and answers(ahead)

        # What operators ask from now on is newer than what the agent knows.
        operator.call("PATCH", f"/api/deployments/{changed}", {"config": {"seed": 4}})
        # The control plane believes two lists that are 25 seconds apart, not one.
        assert operator.reach(stopped, "error")["error_code"] == "CONTAINER_LOST"
        operator.call("POST", f"/api/deployments/{stopped}/restart")
        new = deploy(plane, "host", config={"seed": 5})
        assert operator.reach(changed, "running")["generation"] > ahead["generation"]
        operator.reach(stopped, "running")
        there = {each.instance: each.seed for each in worker.instances()}
        known = {each: operator.see(each)["container_id"] for each in (changed, stopped, new["deployment_id"])}
        assert {there.pop(instance) for instance in known.values()} == {4, 1, 5}
        assert list(there.values()) == [3], "the orphan lives on"
        containers = f"/api/workers/{plane.worker('host')['worker_id']}/containers"
        (orphan,) = there
        operator.call("POST", f"{containers}/{orphan}/stop")
        eventually(worker.instances, lambda left: len(left) == 3, "an operator may end it")
