"""Facts about the host that runs the tests, whatever it is."""

from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from muster_agent.host import facts
from tests.fixtures.waiting import eventually


def test_system_and_disk_have_their_figures(tmp_path: Path) -> None:
    system = facts.system_info()
    assert system.hostname == socket.gethostname()
    assert system.cpu_count > 0
    assert system.memory_total > 2**28
    disk = facts.disk(tmp_path / "not" / "yet")
    assert 0 < disk.free <= disk.total
    assert 0 <= disk.percent <= 100
    assert "127.0.0.1" in facts.local_addresses()


def test_a_machine_keeps_its_id(tmp_path: Path) -> None:
    first = facts.machine_id(tmp_path / "state")
    assert re.fullmatch(r"[0-9a-f]{32}", first)
    assert facts.machine_id(tmp_path / "state") == first
    assert first not in Path("/etc/machine-id").read_text() if Path("/etc/machine-id").exists() else True


def test_a_process_is_known_by_pid_and_start() -> None:
    process = subprocess.Popen(
        ["sleep", "infinity"], env={"MARK_FOR_TEST": str(os.getpid()), "PATH": os.environ["PATH"]}
    )
    try:
        start = facts.start_ticks(process.pid)
        assert start is not None
        assert facts.start_ticks(process.pid) == start
        eventually(lambda: facts.marked("MARK_FOR_TEST", str(os.getpid())) == [process.pid])
        process.kill()
        eventually(lambda: facts.start_ticks(process.pid) is None)  # dead, though nobody has waited for it yet
    finally:
        process.kill()
        process.wait()
    assert facts.marked("MARK_FOR_TEST", str(os.getpid())) == []


def test_a_kept_machine_id_is_for_its_owner_alone(tmp_path: Path) -> None:
    facts.machine_id(tmp_path / "state")
    for kept in (tmp_path / "state").glob("*"):
        assert not stat.S_IMODE(kept.parent.stat().st_mode) & 0o077


@pytest.mark.parametrize(
    ("cgroup", "container"),
    [
        (f"0::/system.slice/docker-{'a1' * 32}.scope\n", "a1" * 32),
        (f"12:devices:/docker/{'b2' * 32}\n1:name=systemd:/docker/{'b2' * 32}\n", "b2" * 32),
        (f"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{'c3' * 32}.scope\n", "c3" * 32),
        (f"0::/machine.slice/libpod-{'d4' * 32}.scope/container\n", "d4" * 32),
        ("0::/user.slice/user-1000.slice/session-2.scope\n", None),
        (f"0::/{'e5' * 40}\n", None),
        ("", None),
    ],
)
def test_a_process_is_in_the_container_that_its_cgroup_names(cgroup: str, container: str | None) -> None:
    assert facts.container_in(cgroup) == container


def test_what_is_not_here_is_in_no_container() -> None:
    assert facts.container_of(4000000) is None
    assert facts.process_name(4000000) == ""
