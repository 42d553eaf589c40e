"""Which run of the host this is, read from a /proc of the test's own."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from muster_agent.host.boot_id import HostRun, docker_daemon


class Proc:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.boot("a")
        self.process(1, "systemd", 1)

    def boot(self, boot_id: str) -> None:
        (self.path / "sys/kernel/random").mkdir(parents=True, exist_ok=True)
        (self.path / "sys/kernel/random/boot_id").write_text(boot_id + "\n")

    def process(self, pid: int, comm: str, started: int) -> None:
        folder = self.path / str(pid)
        folder.mkdir(exist_ok=True)
        (folder / "comm").write_text(comm + "\n")
        (folder / "stat").write_text(f"{pid} (odd ) name) S {' '.join(['0'] * 18)} {started} 0 0")


def test_a_run_changes_with_boot_pod_and_daemon(tmp_path: Path) -> None:
    proc = Proc(tmp_path)
    daemon: list[int] = []
    run = HostRun(lambda: daemon[-1] if daemon else None, tmp_path)
    seen = [run()]
    daemon.append(70)
    proc.process(70, "dockerd", 500)
    seen.append(run())
    proc.process(70, "sh", 600)
    daemon.append(80)
    proc.process(80, "dockerd", 700)
    seen.append(run())
    proc.process(1, "systemd", 2)
    seen.append(run())
    proc.boot("b")
    seen.append(run())
    assert len(set(seen)) == 5
    assert seen[-1] == run() == HostRun(lambda: 80, tmp_path)()


def test_without_a_daemon_it_is_boot_and_first_process(tmp_path: Path) -> None:
    Proc(tmp_path)
    assert HostRun(proc=tmp_path)() == "a:1"
    assert HostRun(proc=tmp_path / "nowhere")() == ""


def test_the_daemon_is_who_listens_or_who_has_the_name(tmp_path: Path) -> None:
    proc = Proc(tmp_path)
    address = f"unix://{tmp_path}/docker.sock"
    assert docker_daemon(address, tmp_path) is None
    assert docker_daemon("tcp://elsewhere:2375", tmp_path) is None
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{tmp_path}/docker.sock")
        server.listen()
        proc.process(700_000, "dockerd", 5)
        proc.process(os.getpid(), "systemd", 5)
        assert docker_daemon(address, tmp_path) == 700_000
        proc.process(os.getpid(), "dockerd", 5)
        assert docker_daemon(address, tmp_path) == os.getpid()
