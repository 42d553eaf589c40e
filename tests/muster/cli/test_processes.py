"""`muster` as a process: what only a terminal, a pipe or a signal shows. The control plane is a real server."""

from __future__ import annotations

import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures.http_client import Operator
from tests.fixtures.muster_process import PROGRAM, bare_environment, finish, kill, run, run_any, start
from tests.fixtures.serve import ADMIN_KEY, Serve
from tests.fixtures.signals import with_default_signals, with_interrupts_ignored
from tests.fixtures.terminals import in_terminal
from tests.fixtures.waiting import PATIENCE, deadline, eventually

EVERY_PARENT = pytest.mark.parametrize("signals", [with_default_signals, with_interrupts_ignored])
"""A terminal's shell, and one that ignores SIGINT: `nohup`, or a script with a background job."""


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    with Serve(tmp_path_factory.mktemp("serve") / "data") as serve:
        yield serve


@pytest.fixture
def environment(serve: Serve, tmp_path: Path) -> dict[str, str]:
    return bare_environment(tmp_path, MUSTER_URL=serve.url, MUSTER_API_KEY=ADMIN_KEY)


def test_a_closed_pipe_ends_a_command_without_a_traceback(environment: dict[str, str]) -> None:
    line = f"{PROGRAM} --help | head -1; {PROGRAM} keys -o json | true"
    done = run_any(["bash", "-c", line], environment)
    assert done.stdout == "Usage: muster [OPTIONS] COMMAND [ARGS]...\n"
    assert done.stderr == ""


def test_the_result_goes_to_stdout_and_advice_to_stderr(environment: dict[str, str]) -> None:
    done = run(environment, "tokens", "create")
    assert re.fullmatch(r"mst_reg_\S+\n", done.stdout)
    assert done.stderr == "Valid for one host, for 1d; the token is not shown again.\n"


def test_colors_are_for_a_terminal_that_wants_them(environment: dict[str, str]) -> None:
    _, said = in_terminal([PROGRAM, "keys"], environment)
    assert "\x1b[1m" in said
    _, plain = in_terminal([PROGRAM, "keys"], environment | {"NO_COLOR": "1"})
    assert not re.search(r"\x1b\[[0-9;]*3\d[0-9;]*m", plain) and "local admin" in plain
    assert "\x1b" not in run(environment, "keys").stdout


def test_a_terminal_without_utf_8_shows_question_marks(environment: dict[str, str]) -> None:
    done = run(environment, "deploy", "org/ü", "--gpus", "0", "--name", "ascii", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0)
    assert "org/?" in run(environment, "ps", PYTHONIOENCODING="ascii").stdout


@EVERY_PARENT
def test_ctrl_c_ends_the_waiting_and_not_the_model(
    environment: dict[str, str], serve: Serve, signals: Callable[[], None]
) -> None:
    name = f"waits-{signals.__name__.replace('_', '-')}"
    words = ["deploy", "org/model", "--gpus", "0", "--name", name, "--wait"]
    code, said = in_terminal([PROGRAM, *words], environment, until="waiting for a place", signals=signals)
    assert code == 130
    assert f"Error: stopped waiting; {name} continues: muster ps, muster logs -f {name}" in said
    assert "Traceback" not in said and said.endswith(f"{name}\r\n") and "\x1b[?25h" in said, "the cursor is back"
    (left,) = Operator(serve.url, ADMIN_KEY).get(f"/api/deployments?name={name}").expect(200)["deployments"]
    assert (left["desired"], left["status"]) == ("running", "pending")


@EVERY_PARENT
def test_ctrl_c_while_nothing_answers_ends_without_a_traceback(tmp_path: Path, signals: Callable[[], None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        deaf.settimeout(PATIENCE)
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        child = start([PROGRAM, "ps"], bare_environment(tmp_path, MUSTER_URL=url, MUSTER_API_KEY="k"), signals)
        try:
            connection, _ = deaf.accept()
            with connection:
                child.send_signal(signal.SIGINT)
                said = child.stderr.readline() if child.stderr else ""
                child.send_signal(signal.SIGINT)  # a second one, while Python ends
                _, rest = finish(child)
        finally:
            kill(child)
    assert (child.returncode, said + rest) == (130, "Error: interrupted\n")


LOSES_THE_FIRST = """
import signal, sys
from muster.cli import program
from muster.cli.main import muster

class Interrupted:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

@muster.command()
def follow():
    sys.unraisablehook = lambda lost: print(lost.exc_type.__name__, "is lost", flush=True)
    Interrupted()
    while True:
        signal.pause()

program()
"""


@EVERY_PARENT
def test_a_second_ctrl_c_ends_a_command_where_the_first_was_lost(tmp_path: Path, signals: Callable[[], None]) -> None:
    child = start([sys.executable, "-c", LOSES_THE_FIRST, "follow"], bare_environment(tmp_path), signals)
    try:
        with deadline(child):
            said = child.stdout.readline() if child.stdout else ""
        assert said == "KeyboardInterrupt is lost\n"
        child.send_signal(signal.SIGINT)
        out, err = finish(child)
    finally:
        kill(child)
    assert (child.returncode, out, err) == (-signal.SIGINT, "", ""), "a shell says 130"


INTERRUPTED_AT_EACH_WRITE = """
import io, signal, sys
from muster.cli import program
from muster.cli.main import muster
from muster.cli.shell import INTERRUPTED, Stop

class Stderr(io.TextIOWrapper):
    def write(self, said):
        signal.raise_signal(signal.SIGINT)
        return super().write(said)

@muster.command()
def wait():
    signal.raise_signal(signal.SIGINT)

@muster.command()
def follow():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt as error:
        raise Stop("stopped following", INTERRUPTED) from error

sys.stderr = Stderr(sys.stderr.buffer)
program()
"""


@pytest.mark.parametrize(("command", "said"), [("wait", "interrupted"), ("follow", "stopped following")])
def test_a_second_ctrl_c_while_the_command_says_its_last_words_changes_nothing(
    tmp_path: Path, command: str, said: str
) -> None:
    done = run_any([sys.executable, "-c", INTERRUPTED_AT_EACH_WRITE, command], bare_environment(tmp_path))
    assert (done.returncode, done.stderr) == (130, f"Error: {said}\n")


def test_login_asks_for_the_key_and_does_not_show_it(serve: Serve, tmp_path: Path) -> None:
    bare = bare_environment(tmp_path)
    login: list[str | Path] = [PROGRAM, "login", serve.url]
    code, said = in_terminal(login, bare, until="API key: ", types=ADMIN_KEY.encode() + b"\n")
    assert code == 0
    assert "Logged in to" in said and ADMIN_KEY not in said
    assert run(bare, "keys").returncode == 0


def test_top_has_a_screen_of_its_own_until_ctrl_c(environment: dict[str, str]) -> None:
    code, said = in_terminal([PROGRAM, "top", "--every", "0.5"], environment, until="workers online")
    assert code == 0 and "\x1b[?1049h" in said and "\x1b[?1049l" in said, "on a screen of its own, and off it again"


def test_a_watch_goes_on_after_the_control_plane_restarts(environment: dict[str, str], serve: Serve) -> None:
    words = ["deploy", "org/model", "--gpus", "0", "--name", "patient", "--wait"]
    child = start([PROGRAM, *words], environment)
    try:
        operator = Operator(serve.url, ADMIN_KEY)
        (made,) = eventually(
            lambda: operator.get("/api/deployments?name=patient").expect(200)["deployments"], what="the deployment"
        )
        serve.kill()
        serve.start()
        assert child.poll() is None
        operator.post(f"/api/deployments/{made['deployment_id']}/stop").expect(200)
        out, _ = finish(child)
    finally:
        kill(child)
    assert (child.returncode, out) == (0, "patient is stopped\n")
