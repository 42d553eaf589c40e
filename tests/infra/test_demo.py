"""`make demo` as a process: an answer from a model that `ps` confirms, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.fixtures import ROOT
from tests.fixtures.process_tree import kill_tree
from tests.fixtures.signals import with_interrupts_ignored
from tests.fixtures.waiting import deadline, eventually

LAST_WORDS = "Nothing was left behind."

Demo = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """Starts the demo on a machine with neither vLLM nor Docker, in a scratch directory that is empty in the end.

    Whatever a failed test leaves running is killed.
    """
    python = str(Path(sys.executable).parent)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MUSTER_"))}
    machine = {"PATH": f"{python}:/usr/bin:/bin", "DOCKER_HOST": "tcp://127.0.0.1:1", "TMPDIR": str(tmp_path)}
    started: list[subprocess.Popen[str]] = []

    def start(ignoring: bool = False, **environment: str) -> subprocess.Popen[str]:
        running = subprocess.Popen(
            [sys.executable, "-m", "infra.demo"],
            cwd=ROOT,
            env={**inherited, **machine, **environment},
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=with_interrupts_ignored if ignoring else None,
        )
        started.append(running)
        return running

    yield start
    for running in started:
        kill_tree(running, tmp_path)


def test_one_answer_comes_from_a_model_that_ps_confirms(demo: Demo, tmp_path: Path) -> None:
    running = demo(ONCE="1", PROMPT="seven quiet [lanterns]", MODEL="org/demo-model")
    with deadline(running):
        said, _ = running.communicate()
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


def test_a_model_that_does_not_start_ends_the_demo_with_the_reason(demo: Demo, tmp_path: Path) -> None:
    running = demo(ONCE="1", CONFIG='{"no_such_flag": 1}')
    with deadline(running):
        said, _ = running.communicate()
    assert running.returncode == 1
    assert "The demo failed: the deployment failed: INVALID_CONFIG" in said
    assert LAST_WORDS in said
    assert not list(tmp_path.iterdir())


def test_it_stays_up_until_ctrl_c_also_where_the_parent_ignores_sigint(demo: Demo, tmp_path: Path) -> None:
    running = demo(ignoring=True)
    assert running.stdout
    with deadline(running):
        assert any("stays up until Ctrl-C" in line for line in running.stdout)
        started = psutil.Process(running.pid).children(recursive=True)
        running.send_signal(signal.SIGINT)
        assert any("Cleaning up" in line for line in running.stdout)
        running.send_signal(signal.SIGINT)  # somebody who is impatient
        running.send_signal(signal.SIGTERM)
        assert LAST_WORDS in running.stdout.read()
        assert running.wait() == 0
    assert len(started) >= 3
    assert not any(process.is_running() for process in started)
    assert not list(tmp_path.iterdir())


def test_sigterm_while_it_starts_leaves_nothing_behind(demo: Demo, tmp_path: Path) -> None:
    running = demo()
    with deadline(running):
        (started,) = eventually(lambda: psutil.Process(running.pid).children(), what="the control plane")
        running.send_signal(signal.SIGTERM)
        said, _ = running.communicate()
    assert running.returncode == 130 and LAST_WORDS in said and "Traceback" not in said
    assert not started.is_running()
    assert not list(tmp_path.iterdir())
