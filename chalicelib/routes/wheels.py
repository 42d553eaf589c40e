"""The wheels that a host installs: which ones its platform needs, with their digests (docs/adr/0035).

`make lock` writes chalicelib/static/wheels.lock. Each line names a file, its SHA-256, and the versions of CPython that
need the file. A platform is a CPython and a processor, such as `cp311-x86_64`. All wheels are for Linux with glibc.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from muster.api.version import WHEEL

STATIC = Path(__file__).parents[1] / "static"
LOCK = STATIC / "wheels.lock"
NOTE = "own-wheel"
"""The file in the place of the own wheel in the functions' archive: its name and SHA-256 (infra/cloud/archive.py)."""
MACHINES = ("aarch64", "x86_64")
"""As `uname -m` prints them."""
GLIBC = 28
"""Every wheel works with glibc 2.28 and later."""
PREFIX = "wheels/"
"""Keys in the bucket begin with it. The function may read no other object (infra/cloud/access.py)."""
SECONDS_VALID = 300
"""How long a presigned URL begins a download."""


@dataclass(frozen=True, order=True)
class Wheel:
    """`pythons` are versions such as 3.11."""

    file: str
    sha256: str
    pythons: frozenset[str]

    @property
    def requirement(self) -> str:
        """One line of a requirements file. pip ignores the comment; join.sh reads the file's name from it."""
        name, version = self.file.split("-")[:2]
        return f"{name}=={version} --hash=sha256:{self.sha256}  # {self.file}"

    @property
    def line(self) -> str:
        """The wheel's line of the lock."""
        return f"{self.file} {self.sha256} {' '.join(sorted(self.pythons, key=_number))}"

    @property
    def key(self) -> str:
        """Where a bucket has the file."""
        return PREFIX + self.file

    def runs_on(self, machine: str) -> bool:
        tags = self.file.removesuffix(".whl").rpartition("-")[2].split(".")
        return "any" in tags or any(tag.endswith(f"_{machine}") for tag in tags)


class OwnWheel(Wheel):
    """Muster's own: the files of a version that is in development differ from build to build."""

    @property
    def key(self) -> str:
        return f"{PREFIX}{self.sha256}/{self.file}"


@dataclass(frozen=True)
class Lock:
    wheels: tuple[Wheel, ...]

    @property
    def pythons(self) -> list[str]:
        return sorted({python for wheel in self.wheels for python in wheel.pythons}, key=_number)

    @property
    def platforms(self) -> list[str]:
        return [platform(python, machine) for python in self.pythons for machine in MACHINES]

    def of(self, wanted: str) -> list[Wheel]:
        """The wheels that a platform needs; none for an unknown platform."""
        return [
            wheel
            for wheel in self.wheels
            if any(wheel.runs_on(m) and platform(p, m) == wanted for p in wheel.pythons for m in MACHINES)
        ]

    def named(self, file: str) -> Wheel | None:
        return next((wheel for wheel in self.wheels if wheel.file == file), None)

    def text(self) -> str:
        """The file's content after its comment."""
        return "".join(f"{wheel.line}\n" for wheel in sorted(self.wheels))


def platform(python: str, machine: str) -> str:
    return f"cp{python.replace('.', '')}-{machine}"


def parsed(lines: Iterable[str]) -> Lock:
    """The lock that the lines of a file contain. Raises ValueError."""
    found = []
    for line in lines:
        if line.strip() and not line.startswith("#"):
            file, sha256, *pythons = line.split()
            found.append(Wheel(file, sha256, frozenset(pythons)))
    return Lock(tuple(found))


@cache
def lock() -> Lock:
    """The lock of this release."""
    return parsed(LOCK.read_text().splitlines())


def own(static: Path = STATIC) -> OwnWheel | None:
    """The control plane's own wheel: a file in `static`, or what the note there names. None without both."""
    file = next(static.glob(WHEEL), None)
    if file is not None:
        return OwnWheel(file.name, hashlib.sha256(file.read_bytes()).hexdigest(), frozenset())
    note = static / NOTE
    if not note.exists():
        return None
    name, sha256 = note.read_text().split()
    return OwnWheel(name, sha256, frozenset())


def requirements(wanted: str, own: Wheel) -> str | None:
    """What pip installs on a platform: its wheels and, last, the control plane's own. None for an unknown platform."""
    needed = lock().of(wanted)
    if not needed:
        return None
    lines = [f"# {wanted}, glibc 2.{GLIBC} or newer", *(wheel.requirement for wheel in needed)]
    return "\n".join([*lines, own.requirement, ""])


def supported() -> str:
    """The platforms that have wheels, for people."""
    pythons = lock().pythons
    return f"CPython {pythons[0]} to {pythons[-1]} on {' and '.join(reversed(MACHINES))} with glibc 2.{GLIBC} or newer"


@dataclass(frozen=True)
class Place:
    """Where the files are: a bucket, to which hosts are redirected, or a folder, or nowhere."""

    bucket: str = ""
    folder: Path | None = None

    @classmethod
    def of_this_process(cls) -> Place:
        folder = os.environ.get("MUSTER_WHEELHOUSE")
        return cls(os.environ.get("MUSTER_WHEEL_BUCKET", ""), Path(folder) if folder else None)

    def read(self, wheel: Wheel) -> bytes | None:
        """The file's content. None if the folder lacks the file."""
        try:
            return (self.folder / wheel.file).read_bytes() if self.folder else None
        except OSError:
            return None

    def url(self, wheel: Wheel) -> str:
        """Where the bucket serves the file to anyone, for SECONDS_VALID."""
        name = f'attachment; filename="{wheel.file}"'  # pip reads the version from the name that `curl -OJ` takes
        asked = {"Bucket": self.bucket, "Key": wheel.key, "ResponseContentDisposition": name}
        made: str = _s3().generate_presigned_url("get_object", Params=asked, ExpiresIn=SECONDS_VALID)
        return made


@cache
def _s3() -> Any:
    """The virtual style has the region in the host's name; the other one answers a new bucket with a redirect."""
    from botocore.config import Config
    from botocore.session import get_session

    config = Config(signature_version="s3v4", s3={"addressing_style": "virtual"})
    return get_session().create_client("s3", config=config)


def _number(python: str) -> tuple[int, ...]:
    return tuple(int(part) for part in python.split("."))
