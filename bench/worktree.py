"""Another commit beside the working tree, to be measured beside it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from bench.servers import ROOT

LOCK = "requirements-dev.txt"


def git(*words: str) -> str:
    """Raises SystemExit with git's complaint."""
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def check_out(reference: str, folder: Path) -> tuple[Path, str]:
    """The path of a worktree at the commit, and its short name. One that is left from an earlier run is replaced."""
    commit = git("rev-parse", "--verify", f"{reference}^{{commit}}")
    path = folder / "reference"
    git("worktree", "prune")
    if path.exists():
        git("worktree", "remove", "--force", str(path))
    git("worktree", "add", "--detach", "--force", str(path), commit)
    return path, git("rev-parse", "--short=10", commit)


def python_of(checkout: Path, usual: Path) -> Path:
    """The Python to run a checkout with: the working tree's, or its own where its lock file is another one."""
    if (checkout / LOCK).read_bytes() == (ROOT / LOCK).read_bytes():
        return usual
    subprocess.run(["make", "setup"], cwd=checkout, check=True)
    return checkout / ".venv" / "bin" / "python"


def remove(path: Path) -> None:
    git("worktree", "remove", "--force", str(path))
    shutil.rmtree(path, ignore_errors=True)
