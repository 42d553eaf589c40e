"""Which run of the host this is, read from a /proc of the test's own."""

from __future__ import annotations

from pathlib import Path

from agent.hostrun import HostRun


class Proc:
    def __init__(self, path: Path) -> None:
        self.path = path

    def boot(self, boot_id: str) -> None:
        (self.path / "sys/kernel/random").mkdir(parents=True, exist_ok=True)
        (self.path / "sys/kernel/random/boot_id").write_text(boot_id + "\n")

    def process(self, pid: int, comm: str, started: int) -> None:
        folder = self.path / str(pid)
        folder.mkdir(exist_ok=True)
        (folder / "comm").write_text(comm + "\n")
        (folder / "stat").write_text(f"{pid} (odd ) name) S {' '.join(['0'] * 18)} {started} 0 0")


def test_it_changes_with_boot_with_pod_and_with_daemon(tmp_path: Path) -> None:
    proc, run = Proc(tmp_path), HostRun("dockerd", tmp_path)
    proc.boot("a")
    proc.process(1, "init", 1)
    seen = [run()]
    proc.process(70, "dockerd", 500)
    seen.append(run())
    proc.process(70, "dockerd", 600)
    seen.append(run())
    proc.process(70, "sh", 700)
    proc.process(80, "dockerd", 800)
    seen.append(run())
    proc.process(1, "init", 2)
    seen.append(run())
    proc.boot("b")
    seen.append(run())
    assert len(set(seen)) == 6
    assert seen[-1] == run() == HostRun("dockerd", tmp_path)()


def test_the_daemon_counts_only_where_it_is_asked_for(tmp_path: Path) -> None:
    proc = Proc(tmp_path)
    proc.boot("a")
    proc.process(1, "init", 1)
    proc.process(70, "dockerd", 500)
    assert HostRun(None, tmp_path)() == "a:1"


def test_unknown(tmp_path: Path) -> None:
    assert HostRun("dockerd", tmp_path / "nowhere")() == ""
