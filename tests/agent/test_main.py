"""The program itself: what it loads, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from socket import socket

from tests.fixtures.waiting import deadline

LOADED = """
import sys, agent.__main__
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"chalice", "boto3", "botocore", "pynamodb", "docker", "app"}, loaded
assert {name for name in sys.modules if name.startswith("chalicelib.")} <= {
    name for name in sys.modules if name.startswith("chalicelib.contract")
}
"""


def test_agent_loads_nothing_of_the_control_plane() -> None:
    subprocess.run([sys.executable, "-c", LOADED], check=True)


FIRST_USE = """
import threading, time
from msgspec import Struct, json
from chalicelib.contract.structs import read_structs

def slowly():
    time.sleep(0.02)
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
    subprocess.run([sys.executable, "-c", FIRST_USE], check=True)


def start(folder: Path, port: int) -> subprocess.Popen[str]:
    settings = {
        "MUSTER_URL": f"http://127.0.0.1:{port}",
        "MUSTER_TOKEN": "very-secret",
        "MUSTER_NAME": "gpu-1",
        "MUSTER_STATE_DIR": str(folder / "state"),
        "MUSTER_ENGINE": "process",
        "MUSTER_VLLM_COMMAND": "true",
    }
    env = {name: value for name, value in os.environ.items() if not name.startswith("MUSTER_")} | settings
    return subprocess.Popen([sys.executable, "-m", "agent"], env=env, stderr=subprocess.PIPE, text=True)


def test_sigterm_ends_it_with_0(tmp_path: Path) -> None:
    with start(tmp_path, port=1) as process:
        assert process.stderr is not None
        with deadline(process):
            said = process.stderr.readline()
            process.send_signal(signal.SIGTERM)
            said += process.stderr.read()
        assert process.wait(timeout=30) == 0
    assert "no heartbeat" in said
    assert "very-secret" not in said


def test_second_interrupt_ends_it_at_once(tmp_path: Path) -> None:
    """Even while it waits for a control plane that takes its connection and never answers."""
    with socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.settimeout(30)
        with start(tmp_path, silent.getsockname()[1]) as process, silent.accept()[0]:
            deadline = time.monotonic() + 30
            while process.poll() is None and time.monotonic() < deadline:
                process.send_signal(signal.SIGINT)
                time.sleep(0.1)
            process.kill()
            assert process.wait() == 128 + signal.SIGINT, "it has not ended after 30 s"
