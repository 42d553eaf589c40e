"""Facts about this host: disk, addresses, processes. The only import of psutil."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from muster.api.messages import Disk, SystemInfo

_CONTAINER = re.compile(r"(?:^|[/:-])([0-9a-f]{64})(?:\.scope)?(?:/|$)", re.MULTILINE)

# The machine


def system_info() -> SystemInfo:
    return SystemInfo(
        hostname=socket.gethostname()[:256],
        cpu_count=psutil.cpu_count() or 0,
        memory_total=psutil.virtual_memory().total,
        os=_os_name(),
    )


@dataclass(frozen=True)
class HostMemory:
    """Bytes. `available` is what a program can have without swapping, as the kernel estimates it."""

    total: int
    available: int


def host_memory() -> HostMemory:
    found = psutil.virtual_memory()
    return HostMemory(found.total, found.available)


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"][:256]
    except (OSError, KeyError):
        return platform.platform()[:256]


def disk(path: Path) -> Disk:
    """Bytes of the file system that holds `path`, which may not exist yet. Raises OSError."""
    place = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    total, used, free = shutil.disk_usage(place)
    return Disk(total=total, used=used, free=free, percent=round(100 * used / total, 1) if total else 0)


def machine_id(state_dir: Path) -> str:
    """Names this machine: derived from /etc/machine-id (which is not to be given away), else random and kept."""
    with suppress(OSError):
        text = Path("/etc/machine-id").read_text(encoding="ascii", errors="replace").strip()
        if re.fullmatch(r"[0-9a-f]{32}", text):
            return hashlib.sha256(b"muster:" + text.encode()).hexdigest()[:32]
    kept = state_dir / "machine-id"
    try:
        return _kept(kept)
    except (OSError, ValueError):
        fresh = uuid.uuid4().hex
        with suppress(OSError):  # on a read-only disk, it is another one after the next start
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = kept.with_name("machine-id.new")
            new.write_text(fresh, encoding="ascii")
            new.rename(kept)
        return fresh


def _kept(path: Path) -> str:
    """Raises OSError; ValueError where it is damaged."""
    text = path.read_text(encoding="ascii").strip()
    if not re.fullmatch(r"[0-9a-f]{32}", text):
        raise ValueError(f"{path} holds no machine id")
    return text


def local_addresses() -> set[str]:
    """The IP addresses of this host's interfaces, without scopes."""
    families = (socket.AF_INET, socket.AF_INET6)
    interfaces = psutil.net_if_addrs().values()
    return {
        address.address.partition("%")[0]
        for addresses in interfaces
        for address in addresses
        if address.family in families
    }


def resolve(name: str) -> list[str]:
    """Every IP address of a host's name. Raises OSError where it does not resolve, UnicodeError where it is no name."""
    return [str(result[4][0]) for result in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]


# Processes


def start_ticks(pid: int) -> int | None:
    """When a live process started, in clock ticks since boot, which no change of the clock moves; None if it is dead.

    With the pid it names one process for good: pids come again, but not at the same tick. (proc(5), /proc/pid/stat)
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[18])


def process_name(pid: int) -> str:
    """As the kernel has it; "" for one that is gone, or not of this pid namespace."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()[:256]
    except OSError:
        return ""


def container_of(pid: int) -> str | None:
    """The id of the container that a process is in, read from its cgroup: Docker's, containerd's and Podman's alike."""
    try:
        cgroups = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return container_in(cgroups)


def container_in(cgroups: str) -> str | None:
    """The id in the text of a /proc/pid/cgroup (cgroups(7), versions 1 and 2)."""
    found = _CONTAINER.search(cgroups)
    return found[1] if found else None


def boot_id() -> str:
    """Random for each boot of the machine; pids and ticks mean nothing in another."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def reap_group(leader: int) -> None:
    """Buries the dead of a process group that are this process's children, by birth or (as PID 1) by adoption."""
    with suppress(ChildProcessError):
        while os.waitpid(-leader, os.WNOHANG)[0]:
            pass


def marked(variable: str, value: str) -> list[int]:
    """The pids of live processes that were started with `variable=value` in their environment, oldest first."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(variable) == value and process.status() != psutil.STATUS_ZOMBIE:
                found.append((start_ticks(process.pid) or 0, process.pid))
    return [pid for _, pid in sorted(found)]


def running(script: str) -> Iterator[tuple[int, list[str], dict[str, str]]]:
    """Pid, words and environment of each live process of our own user that has `script` as one of its words."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            words = process.cmdline()
            if script in words and process.uids().real == os.getuid():
                yield process.pid, words, process.environ()
