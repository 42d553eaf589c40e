"""The program itself: what it loads, which settings it refuses, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from socket import socket

import pytest
from click.testing import CliRunner

from muster_agent.main import main
from tests.fixtures.signals import with_default_signals, with_interrupts_ignored
from tests.fixtures.waiting import PATIENCE, deadline, eventually

LOADED = """
import sys, muster_agent.main
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"chalice", "boto3", "botocore", "pynamodb", "docker", "app"}, loaded
ours = {".".join(name.split(".")[:2]) for name in sys.modules if name.partition(".")[0] in ("chalicelib", "muster")}
rooms = "api diagnostics files http sanitize tunnel"
assert ours <= {"muster", *(f"muster.{room}" for room in rooms.split())}, ours
"""


def test_agent_loads_nothing_of_the_control_plane() -> None:
    assert subprocess.run([sys.executable, "-c", LOADED]).returncode == 0


FIRST_USE = """
import threading, time
from msgspec import Struct, json
from muster.api.structs import read_structs

def slowly():
    time.sleep(0.02)  # waits for nothing: it lets the other threads run while msgspec reads a type
    return int

class Inner(Struct):
    a: "slowly()"
    b: "slowly()" = 1

class Outer(Struct):
    inner: Inner
    c: "slowly()" = 2

read_structs()
for _ in range(8):
    threading.Thread(target=lambda: json.decode(b'{"inner": {"a": 1}}', type=Outer)).start()
    time.sleep(0.005)
"""


def test_structs_that_were_read_are_safe_in_threads() -> None:
    """Without `read_structs` this ends with SIGSEGV, and so did an agent that started on a busy host."""
    assert subprocess.run([sys.executable, "-c", FIRST_USE]).returncode == 0


# Settings

GOOD = {"MUSTER_URL": "https://muster.example", "MUSTER_NAME": "n", "MUSTER_ENGINE": "process"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"MUSTER_URL": "http://muster.example"}, "--insecure"),
        ({"MUSTER_ADDRESS": "0.0.0.0"}, "--address"),
        ({"MUSTER_LABEL": "wrong"}, "--label"),
        ({"MUSTER_ALLOW_MOUNT": "/tmp:ro /no/such/folder"}, "--allow-mount"),
        ({"MUSTER_ENGINE": "podman"}, "--engine"),
        ({"MUSTER_TOKEN": ""}, "--token"),
        ({"MUSTER_VLLM_COMMAND": "no-such-program serve"}, "--vllm-command"),
        ({"MUSTER_VLLM_COMMAND": "'"}, "--vllm-command"),
    ],
)
def test_a_wrong_setting_ends_the_start_with_its_flag_and_without_the_token(
    tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    env = {**GOOD, "MUSTER_TOKEN": "very-secret", "MUSTER_STATE_DIR": str(tmp_path / "s"), **settings}
    outcome = CliRunner().invoke(main, [], env=env)
    assert outcome.exit_code != 0
    assert said in outcome.output
    assert "very-secret" not in outcome.output
    assert "Traceback" not in outcome.output


def test_help_names_every_option() -> None:
    outcome = CliRunner().invoke(main, ["--help"])
    assert outcome.exit_code == 0
    assert "MUSTER_" in outcome.output
    options = {option for parameter in main.params for option in parameter.opts}
    assert options <= set(re.findall(r"--[a-z-]+", outcome.output))


# How it ends


@contextmanager
def started(
    folder: Path, port: int, before: Callable[[], None] = with_default_signals
) -> Iterator[subprocess.Popen[str]]:
    """An agent whose control plane is at `port` of this machine; `before` runs in its process before the program."""
    settings = {
        "MUSTER_URL": f"http://127.0.0.1:{port}",
        "MUSTER_TOKEN": "very-secret",
        "MUSTER_NAME": "gpu-1",
        "MUSTER_STATE_DIR": str(folder / "state"),
        "MUSTER_ENGINE": "process",
        "MUSTER_VLLM_COMMAND": "true",
    }
    env = {name: value for name, value in os.environ.items() if not name.startswith("MUSTER_")} | settings
    with subprocess.Popen(
        [sys.executable, "-m", "muster_agent"], env=env, stderr=subprocess.PIPE, text=True, preexec_fn=before
    ) as process:
        try:
            with deadline(process):
                yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("number", "before"),
    [
        (signal.SIGTERM, with_default_signals),
        (signal.SIGINT, with_default_signals),
        (signal.SIGINT, with_interrupts_ignored),
    ],
    ids=["SIGTERM", "SIGINT", "SIGINT of a parent that ignores it"],
)
def test_a_signal_ends_it_with_0(tmp_path: Path, number: signal.Signals, before: Callable[[], None]) -> None:
    with started(tmp_path, port=1, before=before) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        process.send_signal(number)
        said += process.stderr.read()
        assert process.wait() == 0
    assert "not registered" in said
    assert "very-secret" not in said


def test_a_second_interrupt_ends_it_while_it_waits_for_an_answer(tmp_path: Path) -> None:
    """The control plane here takes the connection and never answers."""
    with socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.settimeout(PATIENCE)
        with started(tmp_path, silent.getsockname()[1]) as process, silent.accept()[0]:

            def interrupt() -> int | None:
                process.send_signal(signal.SIGINT)
                return process.poll()

            assert eventually(interrupt, lambda code: code is not None) == 128 + signal.SIGINT


def failing(folder: Path) -> tuple[int, str]:
    """An agent that cannot start on this folder: how it ends, and what it says."""
    with started(folder, port=1) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        return process.wait(), said


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda state: (state / "journal.sqlite3").mkdir(parents=True), "is a directory: move it away"),
        (lambda state: (state / "lock").mkdir(parents=True), "lock of the state folder: is a directory"),
        (lambda state: of_a_newer_agent(state), "was written by a newer agent"),
    ],
)
def test_a_state_folder_that_cannot_be_used_ends_the_start_with_one_sentence(
    tmp_path: Path, spoil: Callable[[Path], object], told: str
) -> None:
    spoil(tmp_path / "state")
    code, said = failing(tmp_path)
    assert code == 1
    assert told in said and len(said.splitlines()) == 1, said


def of_a_newer_agent(state: Path) -> None:
    state.mkdir()
    with closing(sqlite3.connect(state / "journal.sqlite3")) as connection:
        connection.execute("PRAGMA user_version = 99")


def test_a_journal_that_is_damaged_under_the_agent_is_begun_anew_in_the_same_process(tmp_path: Path) -> None:
    journal = tmp_path / "state" / "journal.sqlite3"
    with started(tmp_path, port=1) as process:
        assert process.stderr is not None
        assert "the next attempt is in" in process.stderr.readline()
        journal.write_bytes(b"not a database" * 1000)
        lines = iter(process.stderr.readline, "")
        said = next(line for line in lines if "is kept as" in line or "Traceback" in line)
        assert "and this agent begins a new one" in said
        assert "the next attempt is in" in next(lines), "it goes on"
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    assert len(list(tmp_path.glob("state/journal.sqlite3.damaged-*"))) == 1
