"""A supervised process is found again and ended whole, whatever the agent missed and whoever was killed."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from muster_agent.engines.process.supervisor import MARK
from muster_agent.host import facts
from tests.fixtures.engine_suite import only, ready
from tests.fixtures.process_rig import PUPPET, ProcessRig, RigOf
from tests.fixtures.waiting import eventually


def test_it_outlives_the_agent_and_is_adopted_with_its_exit_code(rig: ProcessRig) -> None:
    """The agent that starts it is a process of its own here, and ends without a word."""
    spec = rig.spec()
    script = f"""
import os, signal
from pathlib import Path
from muster_agent.engines.base import RunSpec
from muster_agent.engines.process.process_engine import ProcessEngine
spec = RunSpec({spec.name!r}, "w1", "d1", 1, "m", None, {spec.arguments!r}, {{}}, (), "127.0.0.1", {spec.port})
ProcessEngine(Path({str(rig.state_dir)!r}), {PUPPET!r}).start(spec)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    instance = ready(rig, only(rig))
    assert (instance.state, instance.worker_id) == ("running", "w1")
    assert rig.engine.start(spec).id == instance.id
    rig.die(instance, 42)
    assert only(rig).exit_code == 42


def test_it_is_found_by_its_mark_where_its_pid_was_never_written(rig: ProcessRig) -> None:
    instance = ready(rig, rig.engine.start(rig.spec()))
    (rig.state_dir / "processes" / instance.name / "pid").unlink()
    assert only(rig).state == "running"
    assert rig.reopened().start(rig.spec()).id == instance.id
    rig.engine.stop(instance.id, 5)
    assert facts.marked(MARK, instance.id) == []
    assert only(rig).state == "exited"


def test_what_runs_is_found_where_its_folder_was_deleted(rig: ProcessRig) -> None:
    """Else the next start of it would be a second one beside it."""
    instance = ready(rig, rig.engine.start(rig.spec()))
    for engine in (rig.engine, rig.reopened()):
        shutil.rmtree(rig.state_dir)
        (found,) = engine.instances()
        assert (found.id, found.name, found.state) == (instance.id, instance.name, "running")
        assert found.pid in facts.marked(MARK, instance.id)
        assert (found.worker_id, found.deployment_id, found.port) == ("w1", "d1", instance.port)
        assert engine.start(rig.spec()).id == instance.id
    rig.engine.stop(instance.id, 5)
    rig.engine.remove(instance.id)
    assert rig.engine.instances() == [] == rig.reopened().instances()


def test_a_pid_that_another_process_got_is_not_ours(rig: ProcessRig) -> None:
    instance = ready(rig, rig.engine.start(rig.spec()))
    rig.engine.stop(instance.id, 5)
    folder = rig.state_dir / "processes" / instance.name
    (folder / "exit").unlink()
    (folder / "pid").write_text(f"[{os.getpid()}, 1, {os.getpid()}]")
    assert (only(rig).state, only(rig).exit_code, only(rig).pid) == ("exited", None, None)
    rig.engine.stop(instance.id, 0)  # would be this very process


def test_the_whole_group_ends(rig_of: RigOf) -> None:
    """Children that ignore the request, and one that left the group, end with it."""
    script = "trap '' TERM; sleep 300 & setsid sleep 300 & echo ready; wait; sleep 300"
    rig = rig_of("/bin/sh", "-c", script)
    instance = ready(rig, rig.engine.start(rig.spec()))
    eventually(lambda: len(facts.marked(MARK, instance.id)) >= 4)
    rig.engine.stop(instance.id, 0.3)
    assert facts.marked(MARK, instance.id) == []


def test_a_killed_supervisor_takes_no_model_out_of_sight(rig: ProcessRig) -> None:
    """It still counts as running while anything of it lives, so that nobody starts it a second time."""
    instance = ready(rig, rig.engine.start(rig.spec()))
    leader = rig.leader(instance)
    os.kill(leader, signal.SIGKILL)
    eventually(lambda: facts.start_ticks(leader) is None)
    assert facts.marked(MARK, instance.id), "the model outlives it"
    assert only(rig).state == "running"
    rig.engine.stop(instance.id, 5)
    assert facts.marked(MARK, instance.id) == []
    assert only(rig).state == "exited"


def test_no_zombie_is_left(rig: ProcessRig) -> None:
    """One that ends while a thread of it is still ending is reaped by a later look."""
    instance = ready(rig, rig.engine.start(rig.spec()))
    leader = rig.leader(instance)
    rig.engine.stop(instance.id, 5)
    assert eventually(lambda: only(rig).state == "exited" and not Path(f"/proc/{leader}").exists())


def test_no_secret_is_on_disk_and_nobody_else_may_look(rig_of: RigOf) -> None:
    rig = rig_of("/bin/sh", "-c", "echo up; sleep 300")
    instance = rig.engine.start(replace(rig.spec(), env={"VLLM_API_KEY": "sk-hidden"}))
    eventually(lambda: rig.engine.logs(instance.id, 5, None).text)
    files = [each for each in rig.state_dir.rglob("*") if each.is_file()]
    assert len(files) >= 3
    assert not [each for each in files if b"sk-hidden" in each.read_bytes()]
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}
    folders = [each for each in rig.state_dir.rglob("*") if each.is_dir()]
    assert {stat.S_IMODE(each.stat().st_mode) for each in folders} == {0o700}
