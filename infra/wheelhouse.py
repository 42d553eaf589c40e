"""Fetch the wheels that hosts install, as chalicelib/static/wheels.lock names them: python -m infra.wheelhouse

pip fetches them from this machine's package index: wheels only, and only those with the lock's digests. The control
plane serves them to hosts (docs/adr/0035). `--here` fetches those of this machine's platform alone.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from chalicelib.routes import wheels
from chalicelib.routes.wheels import Lock, Wheel

PROJECT = Path(__file__).resolve().parents[1]
PARALLEL_DOWNLOADS = 4
"""Processes of pip."""


class NotFetched(click.ClickException):
    """pip's reason, and what to do."""


def folder() -> Path:
    """Where this machine has its wheels: MUSTER_WHEELHOUSE, or build/wheelhouse in the project."""
    return Path(os.environ.get("MUSTER_WHEELHOUSE") or PROJECT / "build" / "wheelhouse")


def here() -> str:
    """The platform of this Python."""
    return wheels.platform("{}.{}".format(*sys.version_info), platform.machine())


def missing(where: Path, lock: Lock, platforms: Iterable[str]) -> list[Wheel]:
    """The platforms' wheels that a folder lacks, or has with another content."""
    needed = {wheel for target in platforms for wheel in lock.of(target)}
    return sorted(wheel for wheel in needed if not _is_there(where / wheel.file, wheel))


def fill(where: Path, lock: Lock, platforms: Iterable[str]) -> int:
    """Fetch what a folder lacks, and return the number of files fetched. Raises NotFetched, OSError."""
    wanted = list(platforms)
    before = len(missing(where, lock, wanted))
    if before:
        where.mkdir(parents=True, exist_ok=True)
        _fetch(where, lock, wanted[0])  # with what all platforms share
        with ThreadPoolExecutor(PARALLEL_DOWNLOADS) as threads:
            list(threads.map(lambda target: _fetch(where, lock, target), wanted[1:]))
    return before


def ensure(where: Path | None = None) -> Path:
    """The folder with the wheels of every platform. Raises NotFetched."""
    where, lock = where or folder(), wheels.lock()
    try:
        if missing(where, lock, lock.platforms):
            click.echo("Fetching the wheels that hosts install (once) ...", err=True)
            fill(where, lock, lock.platforms)
    except OSError as error:
        raise NotFetched(f"cannot write {where}: {error.strerror}; MUSTER_WHEELHOUSE names another folder") from error
    return where


def _fetch(where: Path, lock: Lock, wanted: str) -> None:
    """Each file appears whole, under its name, once its digest is the lock's."""
    lacking = missing(where, lock, [wanted])
    if not lacking:
        return
    with tempfile.TemporaryDirectory(dir=where, prefix=".new-") as new:
        requirements = Path(new) / "requirements.txt"
        requirements.write_text("".join(f"{wheel.requirement}\n" for wheel in lacking))
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
        command += ["--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", new, *for_pip(wanted)]
        command += ["--requirement", str(requirements)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise NotFetched(
                f"pip could not fetch the wheels for {wanted}: {done.stderr.strip()}\n"
                "Check this machine's way to its package index, then run the same command again."
            )
        for wheel in lacking:
            if not _is_there(Path(new) / wheel.file, wheel):
                raise NotFetched(f"pip fetched another file than {wheel.file} for {wanted}: run `make lock` again")
            (Path(new) / wheel.file).rename(where / wheel.file)


def for_pip(wanted: str) -> list[str]:
    """The options that make pip choose for a platform, such as cp311-x86_64."""
    python, _, machine = wanted.removeprefix("cp").partition("-")
    old = ("manylinux2014", "manylinux2010", "manylinux1") if machine == "x86_64" else ("manylinux2014",)
    tags = [*(f"manylinux_2_{minor}" for minor in range(wheels.GLIBC, 4, -1)), *old]
    options = ["--implementation=cp", f"--python-version={python[0]}.{python[1:]}"]
    return [*options, *(f"--platform={tag}_{machine}" for tag in tags)]


def _is_there(path: Path, wheel: Wheel) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == wheel.sha256
    except OSError:
        return False


@click.command()
@click.option("--here", "only_here", is_flag=True, help="Fetch the wheels of this machine's platform alone.")
def main(only_here: bool) -> None:
    """Fetch the wheels that hosts install, in MUSTER_WHEELHOUSE or build/wheelhouse."""
    lock, where = wheels.lock(), folder()
    platforms = [here()] if only_here else lock.platforms
    if not lock.of(platforms[0]):
        raise NotFetched(f"there are no wheels for {platforms[0]}, only for {wheels.supported()}")
    try:
        fetched = fill(where, lock, platforms)
    except OSError as error:
        raise NotFetched(f"cannot write {where}: {error.strerror}; MUSTER_WHEELHOUSE names another folder") from error
    files = {wheel for target in platforms for wheel in lock.of(target)}
    size = sum((where / wheel.file).stat().st_size for wheel in files)
    click.echo(f"{where}: {len(files)} wheels, {size / 1e6:.1f} MB; {fetched} were fetched now")


if __name__ == "__main__":
    main()
