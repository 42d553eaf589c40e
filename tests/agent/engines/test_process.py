"""The process engine: the shared suite, and what only processes can suffer."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import host
from agent.engines import Engine, EngineError, Instance
from agent.engines.process import ProcessEngine
from agent.engines.supervised import MARK
from tests.fixtures.engine_suite import EngineSuite, Rig, only, ready
from tests.fixtures.puppets import SCRIPT, Puppets
from tests.fixtures.waiting import eventually

COMMAND = ("/bin/sh", str(SCRIPT))


class ProcessRig(Puppets):
    def __init__(self, folder: Path) -> None:
        self.state_dir = folder / "state"
        super().__init__(self.reopened(), folder)

    def reopened(self) -> Engine:
        return ProcessEngine(self.state_dir, COMMAND, {**os.environ, "MUSTER_TOKEN": "secret", "HOST_VARIABLE": "x"})


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[ProcessRig]:
    rig = ProcessRig(tmp_path)
    yield rig
    rig.clear()


class TestProcessEngine(EngineSuite):
    """The shared suite."""


def test_it_outlives_the_agent_and_is_adopted_with_its_exit_code(rig: ProcessRig) -> None:
    """The agent that starts it is a process of its own here, and ends without a word."""
    spec = rig.spec()
    script = f"""
import os, signal
from pathlib import Path
from agent.engines import RunSpec
from agent.engines.process import ProcessEngine
spec = RunSpec({spec.name!r}, "w1", "d1", 1, "m", None, {spec.arguments!r}, {{}}, (), "127.0.0.1", {spec.port})
ProcessEngine(Path({str(rig.state_dir)!r}), {COMMAND!r}).start(spec)
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
    assert host.marked(MARK, instance.id) == []
    assert only(rig).state == "exited"


def test_what_runs_is_found_where_its_folder_was_deleted(rig: ProcessRig) -> None:
    """Else the next start of it would be a second one beside it."""
    instance = ready(rig, rig.engine.start(rig.spec()))
    for engine in (rig.engine, rig.reopened()):
        shutil.rmtree(rig.state_dir)
        (found,) = engine.instances()
        assert (found.id, found.name, found.state) == (instance.id, instance.name, "running")
        assert found.pid in host.marked(MARK, instance.id)
        assert (found.worker_id, found.deployment_id, found.port) == ("w1", "d1", instance.port)
        assert engine.start(rig.spec()).id == instance.id
    rig.engine.stop(instance.id, 5)
    rig.engine.remove(instance.id)
    assert rig.engine.instances() == [] == rig.reopened().instances()


def test_what_was_prepared_and_never_ran_starts_afresh(rig: ProcessRig) -> None:
    instance = ready(rig, rig.engine.start(rig.spec()))
    rig.engine.stop(instance.id, 5)
    for leftover in ("pid", "exit"):
        (rig.state_dir / "processes" / instance.name / leftover).unlink()
    assert only(rig).state == "created"
    again = rig.engine.start(rig.spec())
    assert again.state == "running"
    assert again.id != instance.id


def test_a_folder_without_a_record_is_nobodys_and_makes_way(rig: ProcessRig) -> None:
    folder = rig.state_dir / "processes" / rig.spec().name
    folder.mkdir(parents=True)
    assert rig.engine.instances() == []
    (folder / "instance.json").write_bytes(b'{"id": "hal')
    assert rig.engine.instances() == []
    assert rig.engine.start(rig.spec()).state == "running"


def test_a_pid_that_another_process_got_is_not_ours(rig: ProcessRig) -> None:
    instance = ready(rig, rig.engine.start(rig.spec()))
    rig.engine.stop(instance.id, 5)
    folder = rig.state_dir / "processes" / instance.name
    (folder / "exit").unlink()
    (folder / "pid").write_text(f"[{os.getpid()}, 1, {os.getpid()}]")
    assert (only(rig).state, only(rig).exit_code, only(rig).pid) == ("exited", None, None)
    rig.engine.stop(instance.id, 0)  # would be this very process


def test_the_whole_group_ends(tmp_path: Path) -> None:
    """Children that ignore the request, and one that left the group, end with it."""
    script = "trap '' TERM; sleep 300 & setsid sleep 300 & echo ready; wait; sleep 300"
    rig = Puppets(ProcessEngine(tmp_path / "state", ("/bin/sh", "-c", script)), tmp_path)
    instance = ready(rig, rig.engine.start(rig.spec()))  # type: ignore[arg-type]  # needs no `reopened`
    eventually(lambda: len(host.marked(MARK, instance.id)) >= 4)
    rig.engine.stop(instance.id, 0.3)
    assert host.marked(MARK, instance.id) == []


def test_children_of_a_model_that_ended_end_too(tmp_path: Path) -> None:
    """As with a container's PID 1: no engine process is left behind with the GPU's memory."""
    rig = Puppets(ProcessEngine(tmp_path / "state", ("/bin/sh", "-c", "sleep 300 & exit 5")), tmp_path)
    instance = rig.engine.start(rig.spec())
    eventually(lambda: rig.engine.instances()[0].state == "exited")
    assert rig.engine.instances()[0].exit_code == 5
    eventually(lambda: not host.marked(MARK, instance.id))


def test_a_killed_model_has_the_signal_in_its_exit_code(rig: ProcessRig) -> None:
    instance = ready(rig, rig.engine.start(rig.spec()))
    os.kill(eventually(lambda: _command_pid(rig)) or 0, signal.SIGKILL)
    eventually(lambda: only(rig).state == "exited")
    assert (only(rig).exit_code, only(rig).oom_killed) == (137, False)
    assert instance.pid is None or instance.pid > 0


def test_a_killed_supervisor_takes_no_model_out_of_sight(rig: ProcessRig) -> None:
    """It still counts as running while anything of it lives, so that nobody starts it a second time."""
    instance = ready(rig, rig.engine.start(rig.spec()))
    leader = host.marked(MARK, instance.id)[0]
    os.kill(leader, signal.SIGKILL)
    eventually(lambda: host.start_ticks(leader) is None)
    if host.marked(MARK, instance.id):
        assert only(rig).state == "running"
    rig.engine.stop(instance.id, 5)
    assert host.marked(MARK, instance.id) == []
    assert only(rig).state == "exited"


def test_no_zombie_is_left(rig: ProcessRig) -> None:
    """One that ends while a thread of it is still ending is buried by a later look."""
    instance = ready(rig, rig.engine.start(rig.spec()))
    leader = host.marked(MARK, instance.id)[0]
    rig.engine.stop(instance.id, 5)
    assert eventually(lambda: only(rig).state == "exited" and not Path(f"/proc/{leader}").exists())


def test_it_knows_its_gpus_and_nothing_of_the_agent(tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "MUSTER_TOKEN": "secret", "CUDA_VISIBLE_DEVICES": "7"}
    engine = ProcessEngine(tmp_path / "state", ("/bin/sh", "-c", "env"), environ)
    spec = Puppets(engine, tmp_path).spec()
    spec = type(spec)(**{**vars(spec), "gpus": (1, 3), "env": {"VLLM_API_KEY": "sk-hidden"}})
    instance = engine.start(spec)
    eventually(lambda: engine.instances()[0].state == "exited")
    env = dict(line.split("=", 1) for line in engine.logs(instance.id, 100, None).text.splitlines())
    assert (env["CUDA_VISIBLE_DEVICES"], env["CUDA_DEVICE_ORDER"]) == ("1,3", "PCI_BUS_ID")
    assert env["VLLM_API_KEY"] == "sk-hidden"
    assert "MUSTER_TOKEN" not in env


def test_no_secret_is_on_disk_and_nobody_else_may_look(tmp_path: Path) -> None:
    engine = ProcessEngine(tmp_path / "state", ("/bin/sh", "-c", "echo up; sleep 300"))
    spec = Puppets(engine, tmp_path).spec()
    instance = engine.start(type(spec)(**{**vars(spec), "env": {"VLLM_API_KEY": "sk-hidden"}}))
    eventually(lambda: engine.logs(instance.id, 5, None).text)
    files = [each for each in (tmp_path / "state").rglob("*") if each.is_file()]
    assert len(files) >= 3
    assert not [each for each in files if b"sk-hidden" in each.read_bytes()]
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}
    folders = [each for each in (tmp_path / "state").rglob("*") if each.is_dir()]
    assert {stat.S_IMODE(each.stat().st_mode) for each in folders} == {0o700}
    engine.stop(instance.id, 1)


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        (("no-such-vllm", "serve"), "CONTAINER_FAILED", "--vllm-command"),
        (("/etc/passwd",), "CONTAINER_FAILED", "--vllm-command"),
    ],
)
def test_a_command_that_is_not_there(tmp_path: Path, command: tuple[str, ...], code: str, says: str) -> None:
    engine = ProcessEngine(tmp_path / "state", command)
    with pytest.raises(EngineError, match=says) as raised:
        engine.start(Puppets(engine, tmp_path).spec())
    assert raised.value.error_code == code
    assert engine.instances() == []


def test_a_state_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    engine = ProcessEngine(tmp_path / "state", COMMAND)
    with pytest.raises(EngineError) as raised:
        engine.start(Puppets(engine, tmp_path).spec())
    assert raised.value.error_code == "CONTAINER_FAILED"


def test_an_environment_that_no_process_can_have(tmp_path: Path) -> None:
    engine = ProcessEngine(tmp_path / "state", COMMAND)
    spec = Puppets(engine, tmp_path).spec()
    for env in ({"A": "nul \0"}, {"A": "x" * 3_000_000}):
        with pytest.raises(EngineError):
            engine.start(type(spec)(**{**vars(spec), "env": env}))
        assert engine.instances() == []


def _command_pid(rig: Rig) -> int | None:
    """The puppet's own pid, as soon as the shim has written it."""
    instance: Instance = only(rig)
    return instance.pid if instance.pid != host.marked(MARK, instance.id)[0] else None
