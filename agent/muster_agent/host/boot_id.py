"""Which run of the host this is. What was started in another is gone without having crashed."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from pathlib import Path

PROC = Path("/proc")
DAEMON = "dockerd"
DEFAULT_ADDRESS = "unix:///var/run/docker.sock"


class HostRun:
    """Called, it names the run of the host, and of the daemon that `find_daemon` gives the pid of; "" if unknown.

    The kernel's boot id alone would not notice that a pod was restarted, which ends its processes all the same; nor
    that the daemon was, which may end its containers. A daemon that cannot be seen from here does not count.
    """

    def __init__(self, find_daemon: Callable[[], int | None] = lambda: None, proc: Path = PROC) -> None:
        self._find_daemon = find_daemon
        self._proc = proc
        self._daemon: tuple[int, str] | None = None

    def __call__(self) -> str:
        try:
            kernel = (self._proc / "sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return ""
        return ":".join([kernel, _started(1, self._proc), *map(str, self._daemons_run() or ())])

    def _daemons_run(self) -> tuple[int, str] | None:
        """Its pid and start: looked for again only when the one that is known has ended."""
        if self._daemon is None or _started(self._daemon[0], self._proc) != self._daemon[1]:
            pid = self._find_daemon()
            self._daemon = (pid, _started(pid, self._proc)) if pid is not None else None
        return self._daemon


def docker_daemon(address: str, proc: Path = PROC) -> int | None:
    """The pid of the Docker daemon behind a Unix socket: whose socket it is, or by its name where systemd holds it."""
    listener = _listener(address.removeprefix("unix://")) if address.startswith("unix://") else None
    if listener is None or _comm(listener, proc) == DAEMON:
        return listener
    pids = (int(entry.name) for entry in proc.iterdir() if entry.name.isdigit())
    return next((pid for pid in sorted(pids) if _comm(pid, proc) == DAEMON), None)


def _listener(path: str) -> int | None:
    """Who listens at it (unix(7), SO_PEERCRED); None where nobody does, or nobody whom this pid namespace shows."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2.0)
            connection.connect(path)
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:
        return None
    pid: int = struct.unpack("3i", credentials)[0]
    return pid or None


def _comm(pid: int, proc: Path) -> str:
    try:
        return (proc / str(pid) / "comm").read_text(errors="replace").strip()
    except OSError:
        return ""


def _started(pid: int, proc: Path) -> str:
    """In clock ticks since boot: field 22 (proc(5)); the second may hold spaces and parentheses. "" if it is gone."""
    try:
        return (proc / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
