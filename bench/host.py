"""The machine that figures are from, without its name and without its paths."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sqlite3
import subprocess
from collections.abc import Sequence
from pathlib import Path

LIBRARIES = ("fastapi", "uvicorn", "uvloop", "httptools", "sqlalchemy", "aiosqlite")


def processor() -> str:
    """The model's name as the kernel has it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def system() -> str:
    """The distribution and the kernel's release."""
    release = platform.freedesktop_os_release()
    kernel = platform.release().partition("-")[0]
    return f"{release.get('PRETTY_NAME', platform.system())}, Linux {kernel}"


def versions(libraries: Sequence[str]) -> str:
    """`name version` of those that are installed beside this program."""
    found = []
    for name in libraries:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def commit(checkout: Path) -> str:
    """The commit that is checked out, marked if the tree differs from it; "unknown" outside of git."""
    try:
        command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def rows() -> list[tuple[str, str]]:
    """What the report says about the machine."""
    load = os.getloadavg()[2]
    return [
        ("processor", f"{processor()}, {os.cpu_count()} cores"),
        ("memory", f"{memory_bytes() / 2**30:.0f} GiB"),
        ("system", system()),
        ("Python", f"{platform.python_version()}, SQLite {sqlite3.sqlite_version}"),
        ("peers", versions(LIBRARIES)),
        ("load average of 15 minutes, at the start", f"{load:.1f}"),
    ]
