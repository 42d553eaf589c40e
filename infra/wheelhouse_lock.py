"""Choose the wheels that hosts install, and write chalicelib/static/wheels.lock: python -m infra.wheelhouse_lock

`make lock` calls it. pip resolves the agent's dependencies for each platform, in the versions that the tests use with
that Python. pip evaluates a requirement's marker for the Python that runs pip, so markers are evaluated here, for the
platform. The result has no address: it says which files, and `make wheelhouse` asks pip for them.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from chalicelib.routes.wheels import GLIBC, LOCK, MACHINES, Lock, Wheel, platform
from infra.wheelhouse import for_pip

PROJECT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
EXTRA = "agent"
"""What the agent needs beyond the package's own dependencies, if pyproject.toml has such an extra."""
HEADER = f"""\
# The wheels that hosts install: file, SHA-256, and the versions of CPython that need it. Made by `make lock`.
# All of them are for Linux with glibc 2.{GLIBC} or newer, on {" or ".join(MACHINES)}.
"""

Json = dict[str, Any]
Resolve = Callable[[list[str], str, str], list[Json]]
"""pip's report for requirements, a Python and a machine: what it would install."""


class NotLocked(Exception):
    """pip's reason."""


def main() -> None:
    wanted = dependencies(tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"])
    try:
        found = locked(wanted, by_pip)
    except NotLocked as error:
        raise SystemExit(f"wheels.lock was not written: {error}") from None
    LOCK.write_text(HEADER + found.text())
    print(f"{LOCK.relative_to(PROJECT)}: {len(found.wheels)} wheels for {len(PYTHONS) * len(MACHINES)} platforms")


def dependencies(project: Json) -> list[str]:
    """The agent's requirements, of pyproject.toml's table `project`."""
    return [*project["dependencies"], *project.get("optional-dependencies", {}).get(EXTRA, [])]


def versions_of(python: str) -> Path:
    """The lock file of the tests' environment with a Python."""
    return PROJECT / ("requirements-310.txt" if python == "3.10" else "requirements-dev.txt")


def pins(tested: str, python: str, machine: str) -> list[str]:
    """pip's constraints for a platform. `tested`: a lock file of versions, with markers and digests."""
    lines = re.findall(r"^[\w.-]+==[^\\\n]+", tested, re.MULTILINE)
    return [_plain(requirement) for requirement in map(Requirement, lines) if _applies(requirement, python, machine)]


def locked(wanted: list[str], resolve: Resolve) -> Lock:
    """Raises NotLocked."""
    digests: dict[str, str] = {}
    pythons: dict[str, set[str]] = {}
    for python in PYTHONS:
        for machine in MACHINES:
            for item in resolved(wanted, python, machine, resolve):
                origin = item["download_info"]
                file = unquote(origin["url"].rpartition("/")[2])
                digests[file] = origin["archive_info"]["hashes"]["sha256"]
                pythons.setdefault(file, set()).add(python)
    return Lock(tuple(sorted(Wheel(file, digests[file], frozenset(pythons[file])) for file in digests)))


def resolved(wanted: Iterable[str], python: str, machine: str, resolve: Resolve) -> list[Json]:
    """What the platform needs, and nothing that only the Python here would. Raises NotLocked."""
    roots = [requirement for requirement in map(Requirement, wanted) if _applies(requirement, python, machine)]
    asked = [_plain(requirement) for requirement in roots]
    while True:
        found = {canonicalize_name(package["metadata"]["name"]): package for package in resolve(asked, python, machine)}
        needed, missing, ahead = set[str](), list[str](), list(roots)
        while ahead:
            requirement = ahead.pop()
            package = found.get(canonicalize_name(requirement.name))
            if package is None:
                missing.append(_plain(requirement))
                continue
            key = f"{requirement.name}[{','.join(sorted(requirement.extras))}]"
            if key not in needed:
                needed |= {key, canonicalize_name(requirement.name)}
                follow = map(Requirement, package["metadata"].get("requires_dist", []))
                ahead += [next_ for next_ in follow if _applies(next_, python, machine, requirement.extras)]
        if not missing:
            return [package for name, package in found.items() if name in needed]
        if set(missing) <= set(asked):
            raise NotLocked(f"pip leaves out {', '.join(missing)} for Python {python}")
        asked += missing


def by_pip(asked: list[str], python: str, machine: str) -> list[Json]:
    """Raises NotLocked."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--only-binary=:all:"]
    command += ["--quiet", "--disable-pip-version-check", "--no-input"]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command += ["--target", folder, "--report", str(report), *for_pip(platform(python, machine))]
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(pins(versions_of(python).read_text(), python, machine)))
        command += ["--constraint", str(constraints), *asked]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise NotLocked(f"pip finds no wheels for Python {python} on {machine}: {done.stderr.strip()}")
        installed: list[Json] = json.loads(report.read_text())["install"]
        return installed


def _applies(requirement: Requirement, python: str, machine: str, extras: Iterable[str] = ()) -> bool:
    environment = {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }
    marker = requirement.marker
    return marker is None or any(marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras))


def _plain(requirement: Requirement) -> str:
    """Without its marker, which pip would evaluate for another Python."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}{requirement.specifier}"


if __name__ == "__main__":
    main()
