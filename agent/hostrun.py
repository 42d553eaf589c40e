"""Which run of the host this is. What was started in another is gone without having crashed."""

from __future__ import annotations

from pathlib import Path

DAEMON = "dockerd"


class HostRun:
    """Called, it names the run of the host and of its Docker daemon; "" where neither can be known.

    The kernel's boot id alone would not notice that a pod was restarted, which ends its processes all the same; nor
    that the daemon was, which may end its containers. A daemon outside of this pid namespace is not seen, and then does
    not count.
    """

    def __init__(self, daemon: str | None = DAEMON, proc: Path = Path("/proc")) -> None:
        self._daemon = daemon
        self._proc = proc
        self._pid = ""

    def __call__(self) -> str:
        try:
            kernel = (self._proc / "sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return ""
        return ":".join([kernel, self._started("1") or "", *self._daemons_start()])

    def _daemons_start(self) -> list[str]:
        """Its pid and start; looked for among all processes only when the one known is gone."""
        if self._daemon is None:
            return []
        if self._comm(self._pid) != self._daemon:
            pids = (each.name for each in self._proc.iterdir() if each.name.isdigit())
            self._pid = next((pid for pid in sorted(pids, key=int) if self._comm(pid) == self._daemon), "")
        return [self._pid, self._started(self._pid) or ""] if self._pid else []

    def _comm(self, pid: str) -> str:
        try:
            return (self._proc / pid / "comm").read_text(errors="replace").strip() if pid else ""
        except OSError:
            return ""

    def _started(self, pid: str) -> str | None:
        try:
            # Field 22 (proc(5)); the second, the command's name, may hold spaces and parentheses.
            return (self._proc / pid / "stat").read_text(errors="replace").rpartition(")")[2].split()[19]
        except (OSError, IndexError):
            return None
