"""Text that attacks its reader: from a model's log, a name or a control plane, to every place where it is shown.

JSON carries it as it was, escaped as JSON has to; what is written onto terminals and into logs is cleaned there.
"""

from __future__ import annotations

import io
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
from click.testing import CliRunner

from muster.sanitize import Formatter, escape_control_characters
from muster_agent.main import main
from tests.fixtures.agent_and_app import AgentAndApp
from tests.fixtures.agent_world import AgentWorld
from tests.fixtures.waiting import PATIENCE
from tests.fixtures.wire import http, server

FORGED = "2026-01-01 00:00:00,000 INFO registered as worker attacker (session 1)"
TEXTS = {
    "colours": "\x1b[31mred\x1b[0m",
    "a cleared screen": "\x1b[2J\x1b[H",
    "a title": "\x1b]0;owned\x07",
    "a link": "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "a clipboard": "\x1b]52;c;cm0gLXJmIC8=\x07",
    "an answerback": "\x05\x1b[c\x1b[6n",
    "controls of the second kind": "\x9b2J\x9d0;x\x9c",
    "an overwrite": "all is well\rall is lost",
    "backspaces": "rm\b\bls",
    "a forged line": f"x\n{FORGED}",
    "a line of another kind": f"x\x85{FORGED}\u2028{FORGED}\u2029{FORGED}\x0b{FORGED}\x0c{FORGED}",
    "a turned direction": "photo\u202egnp.exe\u202c \u2067abc\u2069",
    "nothing to see": "a\u200b\u200d\ufeffb\u2060",
    "NULs": "a\0b",
    "half a character": "\ud800",
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "a format": "%s%n%(message)s{0.__class__}",
}
SENDABLE = {name: text for name, text in TEXTS.items() if "\ud800" not in text}
SEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
"""What no terminal gets; the ends of the log's own lines are looked at apart."""


def terminal(stream: io.StringIO) -> logging.Handler:
    """As the agent's log comes to one."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Formatter("%(asctime)s %(levelname)s %(message)s"))
    return handler


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What the agent's log is on a terminal."""
    stream = io.StringIO()
    handler = terminal(stream)
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.setLevel(level)
    root.removeHandler(handler)


def is_clean(log: str) -> None:
    assert log, "nothing was logged"
    assert not SEEN.search(log), SEEN.search(log)
    lines = log.split("\n")[:-1]
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ |    ", line) for line in lines), lines
    assert not any(line.startswith(FORGED) for line in lines)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_what_is_shown_is_one_line_that_says_all(text: str) -> None:
    clean = escape_control_characters(text)
    assert not SEEN.search(clean) and "\n" not in clean
    assert escape_control_characters(clean) == clean
    assert escape_control_characters("Zürich 東京 🙂 a\\b") == "Zürich 東京 🙂 a\\b", (
        "what is no attack is left as it is"
    )


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_log_has_a_line_for_each_record_whatever_is_in_it(text: str) -> None:
    written = io.StringIO()
    log = logging.Logger("of its own")  # half a character in what pytest captures would not reach its reporter
    log.addHandler(terminal(written))
    log.info("a name: %s", text)
    log.warning(text.replace("%", "%%"))
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("failed for %s", text)
    is_clean(written.getvalue())


@pytest.mark.parametrize("text", SENDABLE.values(), ids=SENDABLE)
def test_what_a_control_plane_says_and_orders_is_logged_without_controls(
    text: str, tmp_path: Path, written: io.StringIO
) -> None:
    world = AgentWorld(tmp_path)
    said = msgspec.json.encode({"error_code": text, "message": text})
    world.server.failures += [(503, said, {}), (429, said, {}), (302, b"", {"Location": quote(text)})]
    world.boot()
    for _ in range(4):
        world.beat()
    world.deploy(model=text, deployment_id="d1")
    world.deploy(image=text, deployment_id="d2")
    world.deploy(env={"A": {"from_host": True}}, config={text: text}, deployment_id="d3")
    world.order(type=text, command_id="unknown")
    world.order(type="container_logs", command_id=text[:100], expires_in=60, container_id=text)
    world.settle()
    world.server.failures.append((409, msgspec.json.encode({"error_code": "SESSION_SUPERSEDED", "message": text}), {}))
    world.beat()
    assert world.state.parked
    world.kill()
    world.boot()
    is_clean(written.getvalue())


def test_the_error_that_ends_the_agent_has_no_controls(tmp_path: Path) -> None:
    said = msgspec.json.encode({"error_code": "X", "message": "".join(SENDABLE.values())})
    settings = {"TOKEN": "t", "ENGINE": "process", "STATE_DIR": str(tmp_path / "s"), "VLLM_COMMAND": "true"}
    with server(lambda head: http(said, "400 Bad Request")) as (url, _):
        environment = {f"MUSTER_{name}": value for name, value in {**settings, "URL": url, "NAME": "n"}.items()}
        outcome = CliRunner().invoke(main, [], env=environment)
    assert outcome.exit_code == 1 and "did not take this worker" in outcome.output
    last = outcome.output[outcome.output.index("Error: the control plane") :]
    assert not SEEN.search(last) and last.count("\n") == 1


# From a model's log to the operator


LINES = [
    *(text.encode("utf-8", "surrogatepass") for text in TEXTS.values() if "\n" not in text),
    b"\xff\xfe\xc3(",
    b"x" * (2**20 - 4096),
]
CAUSE = b"torch.OutOfMemoryError: CUDA out of memory. \x1b]0;owned\x07\x9b2J\xe2\x80\xae<script>\x00"


def test_a_models_log_reaches_the_operator_as_it_was_and_as_json(whole: AgentAndApp, written: io.StringIO) -> None:
    deployment_id = whole.create(restart="never")
    whole.round()
    instance = whole.engine.only()
    for line in LINES:
        whole.engine.say(instance.id, line)
    asked = whole.app.operator("GET", f"/api/deployments/{deployment_id}/logs?wait=0&lines=100")
    whole.round()
    logs = whole.app.operator("GET", f"/api/operations/{asked['operation_id']}")["output"]["logs"]
    assert logs.endswith("x" * 1000 + "\n") and len(msgspec.json.encode(logs)) < 256 * 1024
    few = whole.app.operator("GET", f"/api/deployments/{deployment_id}/logs?wait=0&lines=1")
    whole.round()
    assert whole.app.operator("GET", f"/api/operations/{few['operation_id']}")["status"] == "succeeded"

    whole.engine.die(instance.id, 1, CAUSE.decode(errors="replace"))
    whole.round()
    seen = whole.see(deployment_id)
    assert (seen["status"], seen["error_code"]) == ("error", "CUDA_OUT_OF_MEMORY")
    assert "<script>" in seen["last_crash"]["logs"] and len(seen["last_crash"]["logs"]) <= 70 * 1024
    assert whole.app.operator("GET", f"/api/deployments/{deployment_id}/events")["events"]
    is_clean(written.getvalue())


# What takes patterns long

SLOW = [
    *("proc(s): {", "/hub/", "huggingface.co", "Error response from daemon: ", "403 Client Error", "architectures ["),
    *(
        "No such file or directory: ",
        "ValueError: ",
        "Error retrieving file list: ",
        "500 Server Error",
        "init engine (",
    ),
    *(
        "Waiting for ",
        "Chat template ",
        "quantization method",
        "a.",
        "(x pid=1 ",
        "[rank",
        "1",
        " ",
        "\x1b[",
        "Capturing ",
    ),
]


def test_no_log_keeps_the_agent_from_everything_else(thorough: bool) -> None:
    """A pattern that has to look again from every place needs hours for a megabyte.

    The limit is of processor time, which no other process uses up.
    """
    size = 2**20 if thorough else 2**18
    program = (
        "import resource\n"
        f"resource.setrlimit(resource.RLIMIT_CPU, ({PATIENCE:.0f}, {PATIENCE:.0f}))\n"
        "from muster.diagnostics.log import diagnose, excerpt\n"
        "from muster_agent.runner.startup import Observation\n"
        "from muster_agent.runner.phases import phase_of\n"
        f"for text in {SLOW!r}:\n"
        f"    log = text * ({size} // len(text))\n"
        "    diagnose(log, 1, False), excerpt(log), phase_of(log), Observation(log).news\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
