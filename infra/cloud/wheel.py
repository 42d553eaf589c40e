"""The wheel for hosts, which the control plane serves to `join.sh`: built where a clone does not have it yet."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from infra.cloud.errors import Misuse
from muster.api.version import WHEEL

PROJECT = Path(__file__).resolve().parents[2]
STATIC = PROJECT / "chalicelib" / "static"


def ensure(project: Path = PROJECT, static: Path = STATIC) -> Path:
    """The wheel of `project` in the folder `static`. Raises Misuse where there is none and it cannot be built."""
    found = next(static.glob(WHEEL), None)
    if found is not None:
        return found
    print("Building the wheel for hosts (once) ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-input"]
        command += ["--no-deps", "--no-build-isolation", "--wheel-dir", folder, str(project)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
        built = next(Path(folder).glob(WHEEL), None)
        if done.returncode or built is None:
            reason = next(reversed(done.stderr.strip().splitlines()), "pip made none")
            raise Misuse(
                f"the wheel for hosts is not built, and pip cannot build it ({reason}): "
                "run `make wheel`, then the same command again"
            )
        static.mkdir(exist_ok=True)
        return Path(shutil.copy(built, static))
