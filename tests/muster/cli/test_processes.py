"""`muster` as a process: what only a terminal, a pipe or a signal shows. The control plane is a real serve."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.http_client import Operator
from tests.fixtures.serve import ADMIN_KEY, Serve
from tests.fixtures.waiting import deadline, eventually

PROGRAM = Path(sys.executable).parent / "muster"
PATIENCE = 60.0


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    serve = Serve(tmp_path_factory.mktemp("serve") / "data")
    serve.start()
    yield serve
    serve.stop()


@pytest.fixture
def environment(serve: Serve, tmp_path: Path) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("MUSTER_", "AWS_", "LC_", "NO_CO"))
    }
    return kept | {
        "MUSTER_URL": serve.url,
        "MUSTER_API_KEY": ADMIN_KEY,
        "XDG_CONFIG_HOME": str(tmp_path),
        "TERM": "xterm",
    }


@pytest.fixture(autouse=True)
def ctrl_c_works() -> Iterator[None]:
    """What a shell starts in the background ignores SIGINT, and so would what is started from here."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def run(environment: dict[str, str], *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *words], env=environment | more, capture_output=True, text=True, timeout=PATIENCE)


def in_terminal(
    environment: dict[str, str], *words: str, until: str | None = None, types: bytes = b"\x03"
) -> tuple[int, str]:
    """What appears on a terminal; when `until` has, something is typed: Ctrl-C, unless it is told otherwise."""
    child, terminal = pty.fork()
    if not child:
        os.execve(PROGRAM, ["muster", *words], environment)
    seen, typed = b"", False
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                piece = os.read(terminal, 65536)
            except OSError:
                break
            if not piece:
                break
            seen += piece
        if until and not typed and until.encode() in seen:
            os.write(terminal, types)
            typed = True
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise AssertionError(f"muster {' '.join(words)} has not ended after {PATIENCE:.0f} s: {seen.decode()}")
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), seen.decode()


def test_a_pipe_that_is_closed_is_no_trace(environment: dict[str, str]) -> None:
    line = f"{PROGRAM} --help | head -1; {PROGRAM} keys -o json | true"
    done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout == "Usage: muster [OPTIONS] COMMAND [ARGS]...\n"
    assert done.stderr == ""


def test_results_and_the_rest_go_their_own_ways(environment: dict[str, str]) -> None:
    done = run(environment, "tokens", "create")
    assert re.fullmatch(r"mst_reg_\S+\n", done.stdout)
    assert done.stderr == "Good for one host, for 1d; it is not shown again.\n"


def test_a_terminal_has_colours_unless_it_wants_none(environment: dict[str, str]) -> None:
    _, said = in_terminal(environment, "keys")
    assert "\x1b[1m" in said
    _, plain = in_terminal(environment | {"NO_COLOR": "1"}, "keys")
    assert not re.search(r"\x1b\[[0-9;]*3\d[0-9;]*m", plain) and "local admin" in plain
    assert "\x1b" not in run(environment, "keys").stdout


def test_a_terminal_without_utf_8_is_no_trace(environment: dict[str, str]) -> None:
    done = run(environment, "deploy", "org/ü", "--gpus", "0", "--name", "ascii", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0)
    assert "org/?" in run(environment, "ps", PYTHONIOENCODING="ascii").stdout


def test_ctrl_c_ends_the_waiting_and_not_the_model(environment: dict[str, str]) -> None:
    code, said = in_terminal(
        environment, "deploy", "org/model", "--gpus", "0", "--name", "waits", "--wait", until="waiting for a place"
    )
    assert code == 130
    assert "Error: not waiting any more; waits goes on: muster ps, muster logs -f waits" in said
    assert "Traceback" not in said and said.endswith("waits\r\n") and "\x1b[?25h" in said, "the cursor is back"
    assert "waits" in run(environment, "ps").stdout


def test_ctrl_c_while_nothing_answers_is_no_trace(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        deaf.settimeout(PATIENCE)
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        child = subprocess.Popen([PROGRAM, "ps"], env=environment | {"MUSTER_URL": url}, stderr=subprocess.PIPE)
        connection, _ = deaf.accept()
        with connection, deadline(child):
            child.send_signal(signal.SIGINT)
            said = child.stderr.readline() if child.stderr else b""
            child.send_signal(signal.SIGINT)  # somebody who is impatient
            _, rest = child.communicate(timeout=PATIENCE)
    assert (child.returncode, said + rest) == (130, b"Error: interrupted\n")


def test_a_password_is_asked_for_and_not_shown(environment: dict[str, str], serve: Serve) -> None:
    bare = {name: value for name, value in environment.items() if not name.startswith("MUSTER_")}
    code, said = in_terminal(bare, "login", serve.url, until="API key: ", types=ADMIN_KEY.encode() + b"\n")
    assert code == 0
    assert "Logged in to" in said and ADMIN_KEY not in said
    assert run(bare, "keys").returncode == 0


def test_top_is_live_until_ctrl_c(environment: dict[str, str]) -> None:
    code, said = in_terminal(environment, "top", "--every", "0.5", until="workers online")
    assert code == 0 and "\x1b[?1049h" in said and "\x1b[?1049l" in said, "on a screen of its own, and off it again"


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("muster wor", "plain,workers\n"),
        ("muster workers dr", "plain,drain\n"),
        ("muster deploy --sel", "plain,--selector\n"),
        ("muster ps --status run", "plain,running\n"),
    ],
)
def test_completion_completes(environment: dict[str, str], words: str, completed: str) -> None:
    done = run(environment, _MUSTER_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(words.count(" ")))
    assert done.stdout == completed


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell(environment: dict[str, str], shell: str) -> None:
    done = run(environment, "completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert "_MUSTER_COMPLETE" in done.stdout
    if shell == "bash":
        typed = f'eval "$({PROGRAM} completion bash)"; complete -p muster'
        bash = subprocess.run(["bash", "-c", typed], env=environment, capture_output=True, text=True, timeout=PATIENCE)
        assert "_muster_completion" in bash.stdout


def test_a_server_that_goes_away_while_it_is_waited_for(environment: dict[str, str], serve: Serve) -> None:
    """The watch bears it, and goes on where it was."""
    child = subprocess.Popen(
        [PROGRAM, "deploy", "org/model", "--gpus", "0", "--name", "patient", "--timeout", "10s"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    operator = Operator(serve.url, ADMIN_KEY)
    eventually(lambda: operator.get("/api/deployments?name=patient").expect(200)["deployments"], bool)
    serve.kill()
    serve.start()
    _, said = child.communicate(timeout=PATIENCE)
    assert child.returncode == 6
    assert said.splitlines()[-1] == "Error: patient is pending after 10s, and goes on: muster ps"
