"""Two agents where there should be one: on one state folder, or on copies of a machine, under a supervisor.

`Supervisor` starts its agent again at once whenever that ends, as `Restart=always` does after 5 seconds: what it counts
over a few restarts is what a host does in a much longer time.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults.rig import Plane, Supervisor, deploy, host, idle
from tests.fixtures.waiting import PATIENCE, eventually


def test_a_second_agent_on_one_state_folder_is_refused(calm_plane: Plane, tmp_path: Path) -> None:
    with host(tmp_path / "host", calm_plane, "first") as first:
        registers = eventually(lambda: first.proxy.count("/register"), bool, "the first has registered")
        log = len(first.said())
        holder = first.process
        first.start()  # its own settings, again
        second, first.process = first.process, holder
        assert second.wait(PATIENCE) == 1
        assert f"another agent uses {first.state}; give each its own --state-dir" in first.said()[log:]
        assert first.proxy.count("/register") == registers
        assert holder.poll() is None


def test_a_clone_of_an_online_worker_waits_and_disturbs_nothing(calm_plane: Plane, tmp_path: Path) -> None:
    """An image with the name and the token in it: the same machine id, and a state folder of its own."""
    with (
        idle(tmp_path / "original", calm_plane, "baked", token := calm_plane.token(max_uses=9)) as original,
        idle(tmp_path / "clone", calm_plane, "baked", token) as clone,
        Supervisor(original) as there,
    ):
        eventually(lambda: calm_plane.worker(original.name), bool, "the original joined")
        deploy(calm_plane, original.name)
        models = original.instances()
        with Supervisor(clone) as waits:
            eventually(clone.said, lambda said: "not registered (409 WORKER_NAME_IN_USE" in said, "the clone waits")
            beats = original.proxy.count("/heartbeat")
            eventually(lambda: original.proxy.count("/heartbeat"), lambda count: count > beats + 2, "it goes on")
            assert "parked" not in original.said() + clone.said()
            assert clone.proxy.count("/register") == len(clone.proxy.seen), "it sent nothing else"
            assert (there.starts, waits.starts) == (1, 1)
            assert original.instances() == models
            assert clone.instances() == []


@pytest.mark.usefixtures("at_length")
def test_of_two_copies_of_a_state_folder_one_parks_and_stays_parked(calm_plane: Plane, tmp_path: Path) -> None:
    """The copy of a running agent's folder has all that makes the agent the worker: the newest session wins."""
    with (
        idle(tmp_path / "original", calm_plane, "twin", token := calm_plane.token()) as original,
        idle(tmp_path / "copy", calm_plane, "twin", token) as copy,
        Supervisor(original) as loser,
    ):
        eventually(lambda: calm_plane.worker(original.name), bool, "the original joined")
        deploy(calm_plane, original.name)
        models = original.instances()
        shutil.copytree(original.state, copy.state)
        with Supervisor(copy) as winner:
            eventually(original.said, lambda said: "parked" in said, "the original parks")
            eventually(lambda: copy.proxy.count("/heartbeat"), lambda count: count > 2, "the copy goes on")
            quiet = len(original.proxy.seen)
            for _ in range(10):
                loser.kill()
                said = original.said().count("this agent does nothing until it is started with --rejoin")
                eventually(original.said, lambda text: text.count("until it is started") > said, "it says so")  # noqa: B023
            beats = copy.proxy.count("/heartbeat")
            eventually(lambda: copy.proxy.count("/heartbeat"), lambda count: count > beats + 2, "it still goes on")
            assert len(original.proxy.seen) == quiet, "a parked agent says nothing, however often it is started"
            assert (original.proxy.count("/register"), copy.proxy.count("/register")) == (1, 1)
            assert (loser.starts, winner.starts) == (11, 1)
            assert original.instances() == models, "what runs is left alone"


def test_one_that_is_refused_does_not_ask_at_every_start(calm_plane: Plane, tmp_path: Path, thorough: bool) -> None:
    """A copy under another name, with a registration token that is used up."""
    token = calm_plane.token()
    with (
        host(tmp_path / "original", calm_plane, "only", token),
        idle(tmp_path / "copy", calm_plane, "another", token) as copy,
        Supervisor(copy) as supervisor,
    ):
        eventually(copy.said, lambda said: "did not take this worker" in said, "it is refused, and ends")
        for number in range(10 if thorough else 2):
            eventually(copy.said, lambda said: said.count("it is asked again in") > number, "it waits")  # noqa: B023
            supervisor.kill()
        assert copy.proxy.count("/register") == 1
        assert len(copy.proxy.seen) == 1
