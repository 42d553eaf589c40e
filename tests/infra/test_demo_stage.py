"""What the demo starts goes away: children, orphans, the scratch directory, however it ends and was started.

Each stage is in a process of its own, since it ends all processes that come from the one that it is in.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from infra.demo_stage import DemoFailed, _worker_of, attempts
from muster_agent.state.db import Database
from muster_agent.state.reserve import ReserveFile
from tests.fixtures import ROOT
from tests.fixtures.process_tree import kill_tree
from tests.fixtures.signals import with_interrupts_ignored
from tests.fixtures.waiting import deadline

SLEEP = [sys.executable, "-c", "import time; time.sleep(1000)"]
ORPHAN = [sys.executable, "-c", f"import subprocess; print(subprocess.Popen({SLEEP!r}).pid, flush=True)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(1000)",
]
BEGIN = f"""
import os, signal, sys, time
from infra import demo_stage
from infra.demo_stage import DemoFailed, Stage, heed_signals, ignore_signals
SLEEP, ORPHAN, DEAF = {SLEEP!r}, {ORPHAN!r}, {DEAF!r}
def said(stage, name):
    while not stage.read(name):
        time.sleep(0.01)
    return stage.read(name)
"""
Run = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Starts a program with a stage in it, which ends with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(program: str, preexec: Callable[[], None] | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", BEGIN + dedent(program)],
            cwd=ROOT,
            env=os.environ | {"TMPDIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=preexec,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        kill_tree(process, tmp_path)


def ended(process: subprocess.Popen[str]) -> list[str]:
    """The lines that it said until it ended without a failure."""
    with deadline(process):
        said, _ = process.communicate()
    assert process.returncode == 0, said
    return said.splitlines()


def test_children_orphans_and_the_scratch_directory_are_gone_after_it(run: Run, tmp_path: Path) -> None:
    program = """
    with Stage() as stage:
        stage.start("child", SLEEP, {})
        stage.start("parent", ORPHAN, {})
        print(stage.process("child").pid, said(stage, "parent").strip())
    """
    (line,) = ended(run(program))
    child, orphan = map(int, line.split())
    assert not psutil.pid_exists(child) and not psutil.pid_exists(orphan)
    assert not list(tmp_path.iterdir())


def test_a_child_that_is_deaf_to_sigterm_is_killed(run: Run) -> None:
    program = """
    demo_stage.TERMINATE_SECONDS = 0.1
    with Stage() as stage:
        stage.start("child", DEAF, {})
        said(stage, "child")
        print(stage.process("child").pid)
    """
    (child,) = ended(run(program))
    assert not psutil.pid_exists(int(child))


def test_a_child_that_ended_fails_the_demo_by_its_name(run: Run) -> None:
    program = """
    with Stage() as stage:
        stage.start("control plane", [sys.executable, "-c", "print('its last line'); raise SystemExit(3)"], {})
        try:
            while True:
                stage.check()
                time.sleep(0.01)
        except DemoFailed as failed:
            print(failed, failed.log, *stage.tail(failed.log), sep="|")
    """
    assert ended(run(program)) == ["control plane ended with exit code 3|control plane|its last line"]


def test_a_child_has_no_settings_of_another_muster(run: Run) -> None:
    program = """
    os.environ |= {"MUSTER_URL": "x", "AWS_ENDPOINT_URL_DYNAMODB": "x", "KEPT": "kept"}
    with Stage() as stage:
        stage.start("child", ["env"], {"MUSTER_TOKEN": "given"})
        stage.process("child").wait()
        print(stage.read("child"))
    """
    found = dict(line.split("=", 1) for line in ended(run(program)) if "=" in line)
    assert (found["KEPT"], found["MUSTER_TOKEN"]) == ("kept", "given")
    assert not {"MUSTER_URL", "AWS_ENDPOINT_URL_DYNAMODB"} & found.keys()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_interrupt_it_also_where_the_parent_ignores_them(run: Run, number: signal.Signals) -> None:
    program = """
    heed_signals()
    try:
        print("ready", flush=True)
        while True:
            time.sleep(0.01)  # a signal that comes right before a sleep does not end that one
    except KeyboardInterrupt:
        ignore_signals()
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        print("interrupted once")
    """
    process = run(program, with_interrupts_ignored)
    assert process.stdout and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert ended(process) == ["interrupted once"]


@pytest.mark.parametrize(
    ("act", "code"),
    [
        ("return 0", 0),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(1000)", 130),
        ("os.kill(os.getpid(), signal.SIGTERM); os.kill(os.getpid(), signal.SIGINT); time.sleep(1000)", 130),
    ],
)
def test_whatever_ends_it_the_last_acts_run_when_no_child_is_left_and_before_the_files_go(
    run: Run, tmp_path: Path, act: str, code: int
) -> None:
    program = f"""
    def act(stage):
        stage.start("child", SLEEP, {{}})
        child = stage.process("child")
        stage.at_the_end(lambda: print(child.is_running(), stage.path.is_dir()))
        {act}
    print(demo_stage.on_stage(act))
    """
    assert ended(run(program)) == ["False True", str(code)]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["__init__", "open", "close"])
def test_a_signal_while_the_stage_is_made_or_taken_down_leaves_nothing(run: Run, tmp_path: Path, place: str) -> None:
    program = f"""
    original = Stage.{place}
    def interrupted(self):
        original(self)
        os.kill(os.getpid(), signal.SIGTERM)
    Stage.{place} = interrupted
    print(demo_stage.on_stage(lambda stage: stage.start("child", SLEEP, {{}}) or 0))
    """
    assert ended(run(program)) == ["0" if place == "close" else "130"]
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_act_takes_the_stage_down_too(run: Run, tmp_path: Path) -> None:
    process = run("demo_stage.on_stage(lambda stage: stage.start('child', SLEEP, {}) or 1 / 0)")
    with deadline(process):
        process.communicate()
    assert process.returncode == 1
    assert not list(tmp_path.iterdir())


def test_the_worker_of_an_agent_that_has_ended_is_read_from_its_journal(tmp_path: Path) -> None:
    assert _worker_of(tmp_path) is None
    database = Database(tmp_path / "journal.sqlite3", ReserveFile(tmp_path / "reserve", 64))
    assert _worker_of(tmp_path) is None
    database.set_meta(worker_id="w1")
    assert _worker_of(tmp_path) == "w1"


def test_attempts_end_when_their_time_is_over() -> None:
    assert list(attempts(0.0)) == []
    assert next(attempts(1000.0)) is None


def test_a_failure_may_name_the_log_that_says_more() -> None:
    assert DemoFailed("x").log is None and DemoFailed("x", "agent").log == "agent"
