"""The holder of idle tunnels says when they are open, and why they could not be opened."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.fixtures import ROOT
from tests.fixtures.ports import free_port
from tests.fixtures.waiting import PATIENCE


def held(plan: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.idle_tunnels"]
    return subprocess.run(
        command, input=json.dumps(plan) + "\n", cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE
    )


def test_no_tunnels_are_open_at_once() -> None:
    done = held([])
    assert (done.returncode, done.stdout) == (0, "open\n")


def test_a_tunnel_that_cannot_be_opened_is_said() -> None:
    done = held([{"address": f"ws://127.0.0.1:{free_port()}/tunnel", "ticket": "x"}])
    assert done.returncode == 1 and done.stdout == "" and "Connect" in done.stderr
