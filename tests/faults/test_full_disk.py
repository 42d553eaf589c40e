"""The disk with the agent's state is full to the last byte, and later is not: models of it go on all the while.

How a full host is freed through the API is tests/end_to_end/test_full_host.py's; here somebody else fills and
frees it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.faults.rig import Plane, ask_for, idle
from tests.fixtures.small_disk import fill, small_disk
from tests.fixtures.waiting import eventually


def test_what_a_full_disk_refuses_it_says_and_what_it_owes_it_does(
    calm_plane: Plane, tmp_path: Path, thorough: bool
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may mount the small disk that is to be filled")
    operator = calm_plane.operator
    with idle(tmp_path / "host", calm_plane, "full") as worker, small_disk(worker.state, "120m"):
        worker.start()
        calm_plane.sees("full", "online")
        kept, ended, owed = (ask_for(calm_plane, "full") for _ in range(3))
        running = [operator.reach(each, "running")["container_id"] for each in (kept, ended, owed)]
        fill(worker.state)
        assert shutil.disk_usage(worker.state).free == 0

        refused = ask_for(calm_plane, "full")
        seen = operator.reach(refused, "error")
        assert seen["error_code"] == "DISK_FULL" and "prune, or delete" in seen["message"]
        operator.call("POST", f"/api/deployments/{ended}/stop")
        operator.reach(ended, "stopped")

        # Killed on it, once what was kept back for a stop is gone too.
        fill(worker.state)
        worker.kill()
        registers = worker.proxy.count("/register")
        worker.start()
        eventually(lambda: worker.proxy.count("/register"), lambda count: count > registers, "it starts on a full disk")
        assert operator.reach(kept, "running")["container_id"] == running[0]
        operator.call("POST", f"/api/deployments/{owed}/stop")
        seen = operator.reach(owed, "stopping")
        assert "Not stopped yet. DISK_FULL" in seen["message"] and seen["last_crash"] is None
        assert {each.instance for each in worker.instances()} == {running[0], running[2]}, "nothing was killed"

        (worker.state / "ballast").unlink()
        if thorough:  # the control plane believes what is listed for 25 seconds, not once
            eventually(
                lambda: [each.instance for each in worker.instances()], lambda left: left == running[:1], "it is done"
            )
            operator.reach(owed, "stopped")
        operator.call("POST", f"/api/deployments/{refused}/start")
        operator.reach(refused, "running")
        assert operator.see(kept)["restarts"] == 0
        worker.end()
