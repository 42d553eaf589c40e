"""The tests of the client, the command line, and the agent on Python 3.10, against the installed wheel.

    python -m infra.oldest_python find             print the interpreter that `test` would use
    python -m infra.oldest_python test WHEEL ...   install WHEEL in .venv-310, then run pytest with the other arguments

The tests run in a copy of the project without the folders `muster` and `agent`, so they can only import what was
installed. The control plane needs Python 3.11. Tests that talk to one run it on Python 3.10 all the same, where it
happens to work; nothing else relies on that.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
VENV = ROOT / ".venv-310"
COPY = ROOT / "build" / "python310"
PINS = ROOT / "requirements-310.txt"
"""Made by `make lock`."""

COPIED = [
    "tests",
    "bench",
    "chalicelib",
    "infra",
    "docs",
    ".chalice",
    "app.py",
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
]
TESTS = ["tests/agent", "tests/muster"]
MISSING = (
    "make test-310 needs Python 3.10, and found none: install one (Ubuntu 22.04: apt-get install python3.10-venv; "
    "elsewhere: pyenv install 3.10), or name one with PYTHON310=/path/to/python3.10"
)
PROBE = "import ensurepip, sys, venv; sys.exit(sys.version_info[:2] != (3, 10))"
WHERE = """
import sysconfig, muster, muster_agent
from pathlib import Path
for each in (muster, muster_agent):
    assert Path(sysconfig.get_path("purelib")) in Path(each.__file__).parents, f"{each.__file__} is not the wheel's"
"""


def interpreter(environment: Mapping[str, str], home: Path) -> Path | None:
    """A Python 3.10 that can make virtual environments; None where there is none.

    It is PYTHON310, where that is set, or else `python3.10` of the PATH, or the newest one of pyenv.
    """
    return next((python for python in _candidates(environment, home) if _is_usable(python)), None)


def _candidates(environment: Mapping[str, str], home: Path) -> Iterator[Path]:
    if named := environment.get("PYTHON310"):
        yield Path(named)
        return
    if found := shutil.which("python3.10", path=environment.get("PATH")):
        yield Path(found)
    yield from sorted(home.glob(".pyenv/versions/3.10*/bin/python"), key=_version, reverse=True)


def _version(python: Path) -> list[int]:
    """Of pyenv's folder, which may also be named `3.10-dev`."""
    return [int(part) for part in python.parts[-3].split(".") if part.isdigit()]


def _is_usable(python: Path) -> bool:
    """pyenv's `python3.10` on the PATH may be one that only says which versions there are."""
    try:
        return subprocess.run([python, "-c", PROBE], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _run(*command: str | Path, cwd: Path = ROOT) -> None:
    """Raises CalledProcessError."""
    subprocess.run(command, check=True, cwd=cwd, stdin=subprocess.DEVNULL)


def install(python: Path, wheel: Path) -> Path:
    """The interpreter of a new virtual environment with the pinned packages and the wheel."""
    _run(python, "-m", "venv", "--clear", VENV)
    installed = VENV / "bin" / "python"
    pip: list[str | Path] = [installed, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
    _run(*pip, "install", "--requirement", PINS)
    _run(*pip, "install", "--no-deps", wheel)
    _run(*pip, "check")
    return installed


def copy(root: Path, target: Path) -> None:
    """What the tests need of the project, and neither `muster` nor `agent`."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in COPIED:
        if (root / name).is_dir():
            shutil.copytree(root / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(root / name, target / name)


def test(python: Path, wheel: Path, arguments: list[str]) -> int:
    """pytest's exit code."""
    installed = install(python, wheel)
    copy(ROOT, COPY)
    _run(installed, "-c", WHERE, cwd=COPY)
    chosen = [] if any(argument.startswith("tests") for argument in arguments) else TESTS
    return subprocess.run([installed, "-m", "pytest", *arguments, *chosen], check=False, cwd=COPY).returncode


def main(arguments: list[str]) -> int:
    python = interpreter(os.environ, Path.home())
    if python is None:
        print(MISSING, file=sys.stderr)
        return 1
    try:
        match arguments:
            case ["find"]:
                print(python)
            case ["test", wheel, *rest]:
                return test(python, Path(wheel).resolve(), rest)
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except subprocess.CalledProcessError as error:
        print(f"make test-310 was not prepared: {' '.join(map(str, error.cmd[:6]))} ... failed", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
