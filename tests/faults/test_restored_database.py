"""An older database in the place of the one there was: the fleet is ahead of it, and is not made to pay for that.

Before the copy two deployments run. After it one is changed, the other stopped, a third made, and the agent registers
again: of all that the control plane knows nothing any more.
"""

from __future__ import annotations

from pathlib import Path

from tests.faults.conftest import Planes
from tests.faults.rig import ask_for, deploy, host, is_served, within


def test_an_older_database_stops_nobodys_models(planes: Planes, tmp_path: Path, thorough: bool) -> None:
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
        worker.kill()
        worker.start()
        within(30, worker.proxy.seen.copy, lambda seen: seen[-1].path.endswith("/heartbeat"), "it is back")
        ahead = operator.reach(changed, "running")
        session = plane.worker("host")["session"]
        models = worker.instances()
        assert sorted(each.seed or 0 for each in models) == [2, 3]

        plane.stop()
        plane.restore(tmp_path / "older")
        plane.start()
        plane.sees("host", "online")
        within(30, lambda: plane.worker("host")["session"], lambda seen: seen > session, "its session grows")
        within(30, lambda: plane.worker("host")["orphans"], bool, "what is unknown is shown")
        assert plane.worker("host")["orphans"] == [unknown["deployment_id"]]
        assert worker.instances() == models, "nothing was killed, nothing started"
        assert is_served(unknown) and is_served(ahead)

        # What operators ask from now on is newer than what the agent knows.
        operator.call("PATCH", f"/api/deployments/{changed}", {"config": {"seed": 4}})
        seen = operator.reach(changed, "running")
        assert seen["generation"] > ahead["generation"]
        new = deploy(plane, "host", config={"seed": 5})
        if thorough:  # the control plane believes two lists that are 25 seconds apart, not one
            within(
                60, lambda: operator.see(stopped)["error_code"], lambda code: code == "CONTAINER_LOST", "it is missed"
            )
        else:
            operator.call("POST", f"/api/deployments/{stopped}/restart")
        operator.call("POST", f"/api/deployments/{stopped}/start")
        operator.reach(stopped, "running")
        there = {each.instance: each.seed for each in worker.instances()}
        known = {each: operator.see(each)["container_id"] for each in (changed, stopped, new["deployment_id"])}
        assert {there.pop(instance) for instance in known.values()} == {4, 1, 5}
        assert list(there.values()) == [3], "the orphan lives on"
        containers = f"/api/workers/{plane.worker('host')['worker_id']}/containers"
        (orphan,) = there
        operator.call("POST", f"{containers}/{orphan}/stop")
        within(30, worker.instances, lambda left: len(left) == 3, "an operator may end it")
