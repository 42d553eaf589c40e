"""The supervisor of a model's process: what it writes about the command, and what ends with the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from muster_agent.engines.base import Instance
from muster_agent.engines.log_lines import backwards
from muster_agent.engines.process.shim import LINE_BYTES
from muster_agent.engines.process.supervisor import MARK, SHIM
from muster_agent.host import facts
from tests.fixtures.engine_suite import only, ready
from tests.fixtures.process_rig import ProcessRig, RigOf
from tests.fixtures.waiting import PATIENCE, eventually


@contextmanager
def supervised(folder: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """The shim of `command`, which leads a group as the agent's do. At the end the whole group is killed."""
    process = subprocess.Popen([sys.executable, "-I", "-S", str(SHIM), str(folder), *command], start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ran(folder: Path, *command: str) -> tuple[int, bool]:
    """The exit code of `command`, and whether the kernel killed for memory meanwhile, as the shim wrote them."""
    with supervised(folder, *command) as process:
        process.wait(PATIENCE)
    code, for_memory = json.loads((folder / "exit").read_text())
    return code, bool(for_memory)


def output(folder: Path) -> list[bytes]:
    return [line.text for line in backwards(folder / "log")][::-1]


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 77", 77), ("kill -KILL $$", 137), ("kill -TERM $$", 143)]
)
def test_the_exit_code_of_the_command_is_written_as_shells_count(tmp_path: Path, script: str, code: int) -> None:
    assert ran(tmp_path, "/bin/sh", "-c", script)[0] == code


def test_a_command_that_does_not_start_has_its_reason_in_the_log(tmp_path: Path) -> None:
    assert ran(tmp_path, str(tmp_path / "absent"))[0] == 127
    assert output(tmp_path) == [f"{tmp_path}/absent: No such file or directory".encode()]


def test_a_file_that_cannot_be_executed_is_126_as_in_shells(tmp_path: Path) -> None:
    program = tmp_path / "program"
    for text, mode, said in (("text", 0o644, "Permission denied"), ("text", 0o755, "Exec format error")):
        program.write_text(text)
        program.chmod(mode)
        assert ran(tmp_path, str(program))[0] == 126
        assert output(tmp_path)[-1] == f"{program}: {said}".encode()


def test_both_outputs_are_in_the_log_line_by_line(tmp_path: Path) -> None:
    ran(tmp_path, "/bin/sh", "-c", "echo one; echo two >&2; printf three")
    assert output(tmp_path) == [b"one", b"two", b"three"]


def test_a_long_line_is_cut_into_several(tmp_path: Path) -> None:
    ran(tmp_path, sys.executable, "-c", f"print('x' * {2 * LINE_BYTES + 5})")
    assert [len(line) for line in output(tmp_path)] == [LINE_BYTES, LINE_BYTES, 5]


def test_it_runs_in_its_folder_and_reads_nothing(tmp_path: Path) -> None:
    ran(tmp_path, "/bin/sh", "-c", "pwd -P; cat; echo end")
    assert output(tmp_path) == [str(tmp_path.resolve()).encode(), b"end"]


def test_who_leads_and_who_runs_is_written_before_the_command_ends(tmp_path: Path) -> None:
    with supervised(tmp_path, "sleep", "300") as process:
        pids = eventually(lambda: json.loads((tmp_path / "pid").read_text()) if (tmp_path / "pid").exists() else [])
        assert pids[:2] == [process.pid, facts.start_ticks(process.pid)]
        command = eventually(lambda: json.loads((tmp_path / "pid").read_text())[2:])
        assert Path(f"/proc/{command[0]}/cmdline").read_bytes() == b"\0".join([b"sleep", b"300", b""])
        assert not (tmp_path / "exit").exists()


def test_a_signal_to_the_group_reaches_the_command_and_its_exit_code_is_kept(tmp_path: Path) -> None:
    with supervised(
        tmp_path, "/bin/sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done"
    ) as process:
        eventually(lambda: (tmp_path / "log").exists() and output(tmp_path) == [b"ready"])
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(PATIENCE)
    assert json.loads((tmp_path / "exit").read_text()) == [5, 0]


def test_children_of_a_model_that_ended_end_too(rig_of: RigOf) -> None:
    """As with a container's PID 1: no engine process is left behind with the GPU's memory."""
    rig = rig_of("/bin/sh", "-c", "sleep 300 & exit 5")
    instance = rig.engine.start(rig.spec())
    eventually(lambda: rig.engine.instances()[0].state == "exited")
    assert rig.engine.instances()[0].exit_code == 5
    eventually(lambda: not facts.marked(MARK, instance.id))


def test_a_killed_model_has_the_signal_in_its_exit_code(rig: ProcessRig) -> None:
    ready(rig, rig.engine.start(rig.spec()))
    pid = eventually(lambda: _command_pid(rig))
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: only(rig).state == "exited")
    assert (only(rig).exit_code, only(rig).oom_killed) == (137, False)


def _command_pid(rig: ProcessRig) -> int | None:
    """The puppet's own pid, as soon as the shim has written it."""
    instance: Instance = only(rig)
    return instance.pid if instance.pid != rig.leader(instance) else None
