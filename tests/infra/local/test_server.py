"""Chalice's local server as an operator meets it: its first words, its schedule, and how it ends."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from chalice.app import Chalice, Rate
from chalice.config import Config

from chalicelib.auth import tokens
from infra.local.server import DevServer, Site, introduce, listen, run_schedule, stop
from infra.local.store import DataDirectory
from muster.api.endpoints import Access
from tests.fixtures import ROOT
from tests.fixtures.database import Recorder

NOW = 1_800_000_000.0
KEY, TOKEN = "mst_key_" + "k" * 43, "mst_reg_" + "r" * 43


@pytest.fixture
def without_secrets(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("MUSTER_ADMIN_KEY", "MUSTER_REGISTRATION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_the_first_start_shows_secrets_that_open_the_api_and_the_next_does_not(
    database: Recorder, tmp_path: Path, without_secrets: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = DataDirectory(tmp_path)
    introduce(data, NOW)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "First start. Keep these; they are not shown again:"
    shown = {line.rsplit(None, 1)[0].strip(): line.split()[-1] for line in said[1:]}
    assert shown.keys() == {"Admin API key", "Registration token"}
    admin = tokens.api_key(shown["Admin API key"])
    assert admin and admin.access is Access.ADMIN
    introduce(data, NOW)
    assert capsys.readouterr().out == ""


def test_secrets_that_were_given_are_not_shown(
    database: Recorder, tmp_path: Path, without_secrets: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_secrets.setenv("MUSTER_ADMIN_KEY", KEY)
    without_secrets.setenv("MUSTER_REGISTRATION_TOKEN", TOKEN)
    introduce(DataDirectory(tmp_path), NOW)
    assert capsys.readouterr().out == ""
    admin = tokens.api_key(KEY)
    assert admin and admin.access is Access.ADMIN


def test_the_schedule_calls_every_scheduled_function_with_the_time() -> None:
    app, called = Chalice("tiny"), list[str]()

    @app.schedule(Rate(1, unit=Rate.MINUTES))
    def sweep(event: object) -> None:
        called.append(event.time)  # type: ignore[attr-defined]

    app.route("/things")(dict)
    run_schedule(app, 0.0)
    assert called == ["1970-01-01T00:00:00Z"]


def test_a_port_in_use_is_named_and_ends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit) as ended:
        port = taken.getsockname()[1]
        DevServer(Site(DataDirectory(tmp_path), None), Chalice("tiny"), Config(), "127.0.0.1", port)
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"muster: cannot listen on 127.0.0.1 port {port}: it is in use\n"


def test_it_listens_on_addresses_of_both_kinds() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert listener.family == socket.AF_INET
    if socket.has_dualstack_ipv6():
        with listen("::1", 0) as listener:
            assert listener.family == socket.AF_INET6 and listener.getsockname()[1] > 0


def test_stop_ends_the_process_from_any_thread(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        stop("muster: enough")
    assert capsys.readouterr().err == "muster: enough\n"
    program = """
import threading, time
from infra.local.server import stop
threading.Thread(target=stop, args=["muster: from a thread"], daemon=True).start()
while True:
    time.sleep(0.01)  # a signal that comes right before a sleep does not end that one
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "muster: from a thread\n")
