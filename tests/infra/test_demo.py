"""`make demo` as a process: an answer from a model that `ps` confirms, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.fixtures.serve import ROOT
from tests.fixtures.waiting import deadline

LAST_WORDS = "Nothing was left behind."


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A machine with neither vLLM nor Docker, and a scratch directory that must be empty in the end."""
    python = str(Path(sys.executable).parent)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MUSTER_"))}
    return inherited | {"PATH": f"{python}:/usr/bin:/bin", "DOCKER_HOST": "tcp://127.0.0.1:1", "TMPDIR": str(tmp_path)}


def demo(environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "infra.demo"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )


def test_once(environment: dict[str, str], tmp_path: Path) -> None:
    running = demo(environment | {"ONCE": "1", "PROMPT": "seven quiet [lanterns]", "MODEL": "org/demo-model"})
    said, _ = running.communicate(timeout=120)
    assert running.returncode == 0, said
    for status in ("pending", "starting", "running"):
        assert re.search(rf"^ +{status}\b", said, re.MULTILINE)
    answer = re.search(r"│ .*Process (\d+) under the name org/demo-model was asked: seven quiet \[lanterns\]", said)
    assert answer
    assert f"ps {answer[1]}: " in said
    assert re.search(r"disk +[\d.]+ GB free", said)
    assert LAST_WORDS in said
    assert not list(tmp_path.iterdir())
    assert not psutil.pid_exists(int(answer[1]))


def test_a_model_that_does_not_start(environment: dict[str, str], tmp_path: Path) -> None:
    running = demo(environment | {"ONCE": "1", "CONFIG": '{"no_such_flag": 1}'})
    said, _ = running.communicate(timeout=120)
    assert running.returncode == 1
    assert "The demo failed: the deployment failed: INVALID_CONFIG" in said
    assert LAST_WORDS in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stays_up_until_it_is_interrupted(
    environment: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    running = demo(environment)
    assert running.stdout
    with deadline(running):
        assert any("stays up until Ctrl-C" in line for line in running.stdout)
        started = psutil.Process(running.pid).children(recursive=True)
        running.send_signal(number)
        assert LAST_WORDS in running.stdout.read()
    assert running.wait(timeout=60) == 0
    assert len(started) >= 3
    assert not any(process.is_running() for process in started)
    assert not list(tmp_path.iterdir())
