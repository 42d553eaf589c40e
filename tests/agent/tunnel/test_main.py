"""python -m muster_agent.tunnel: with no input it ends at once."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.fixtures import ROOT
from tests.fixtures.waiting import PATIENCE


def test_without_an_agent_there_is_nothing_to_do() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "agent")])}
    command = [sys.executable, "-m", "muster_agent.tunnel"]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, input="", capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stdout) == (0, "")
