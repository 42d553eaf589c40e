"""An agent that stands still for longer than the window of liveness, as in a virtual machine that is paused."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.faults.rig import Plane, ask_for, host
from tests.fixtures.docker_agent import answers
from tests.fixtures.waiting import eventually


def test_an_agent_that_stood_still_goes_on_with_the_same_models(
    calm_plane: Plane, tmp_path: Path, thorough: bool
) -> None:
    rounds = 3 if thorough else 1
    with host(tmp_path / "host", calm_plane, "paused") as worker:
        operator = calm_plane.operator
        kept, ended = ask_for(calm_plane, "paused"), ask_for(calm_plane, "paused")
        before, _ = operator.reach(kept, "running"), operator.reach(ended, "running")
        models = worker.instances()
        for number in range(rounds):
            worker.process.send_signal(signal.SIGSTOP)
            if number == rounds - 1:
                operator.call("POST", f"/api/deployments/{ended}/stop")
            calm_plane.sees("paused", "offline")
            during = operator.see(kept)
            assert (during["status"], during["reachable"], during["desired"]) == ("running", False, "running")
            assert during["status_as_of"] >= before["status_as_of"]
            assert answers(during), "a silent worker is unknown, not dead"
            assert worker.instances() == models

            worker.process.send_signal(signal.SIGCONT)
            calm_plane.sees("paused", "online")
            after = eventually(lambda: operator.see(kept), lambda seen: seen["reachable"], "its deployment is, too")
            assert (after["status"], after["restarts"]) == ("running", 0)
            assert after["container_id"] == before["container_id"]

        operator.reach(ended, "stopped")  # what was asked for meanwhile is done
        assert [each.instance for each in worker.instances()] == [before["container_id"]], "neither killed nor doubled"
