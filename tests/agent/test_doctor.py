"""Each of the doctor's checks, on a host that is made for it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from muster_agent.doctor import Finding, Subject, examine, journaled, report
from muster_agent.state.db import Database
from muster_agent.state.dir import StateDir
from muster_agent.state.reserve import ReserveFile
from tests.fixtures.http_server import HttpServer, serving
from tests.fixtures.nvml import FakeNvml, fails, gpu, part, says_bytes
from tests.fixtures.waiting import eventually

GARBAGE = b"\xf8\x95\xa0\x81"


class ControlPlane(BaseHTTPRequestHandler):
    """`/api/health` answers what is in `health`, with a place to go to in `elsewhere`; all else answers `refusal`."""

    server: Server

    def do_GET(self) -> None:
        self._answer(self.server.health, b'{"status": "healthy"}')

    def do_POST(self) -> None:
        self.server.bearers.append((self.path, self.headers["Authorization"]))
        self._answer(self.server.refusal, b"{}")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", "https://elsewhere.example/")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(HttpServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ControlPlane)
        self.health, self.refusal = 200, 400
        self.bearers: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as made:
        yield made


def subject(folder: Path, url: str | None, token: str | None = "registration-token", vllm: str = "true") -> Subject:
    return Subject(url, token, folder / "state", "process", False, folder / "hub", vllm)


def found(subject: Subject, about: str) -> Finding | None:
    (*several,) = [each for each in examine(subject) if each.subject == about]
    assert len(several) <= 1
    return several[0] if several else None


def join(folder: Path, worker_id: str | None = "w1", token: str | None = "worker-token") -> None:
    """What an agent that joined leaves in its state folder."""
    (folder / "state").mkdir()
    database = Database(folder / "state" / "journal.sqlite3", ReserveFile(folder / "state" / "reserve", 4096))
    database.set_meta(worker_id=worker_id, token=token)
    database.close()


# The engine and the disks


@pytest.mark.parametrize(
    ("command", "verdict"), [("true", "ok"), ("no-such-program serve", "bad"), ("", "bad"), ("  ", "bad")]
)
def test_the_program_that_serves_models_is_on_the_path(tmp_path: Path, command: str, verdict: str) -> None:
    finding = found(subject(tmp_path, None, vllm=command), "vllm")
    assert finding is not None
    assert (finding.verdict, bool(finding.mend)) == (verdict, verdict == "bad")


def test_a_state_folder_may_be_made_where_it_is_not_yet(tmp_path: Path) -> None:
    finding = found(subject(tmp_path, None), "state folder")
    assert finding == Finding("state folder", "ok", f"{tmp_path}/state")
    assert not (tmp_path / "state").exists(), "the doctor changes nothing"


def test_a_journal_of_a_newer_agent_is_bad(tmp_path: Path) -> None:
    join(tmp_path)
    assert found(subject(tmp_path, None), "state folder") == Finding("state folder", "ok", f"{tmp_path}/state")
    with closing(sqlite3.connect(tmp_path / "state" / "journal.sqlite3")) as connection:
        connection.execute("PRAGMA user_version = 99")
    finding = found(subject(tmp_path, None), "state folder")
    assert finding is not None and finding.verdict == "bad"
    assert "a newer agent wrote" in finding.message and "schema 99" in finding.message


def test_a_host_without_a_gpu_is_warned_of_and_not_refused(tmp_path: Path) -> None:
    finding = found(subject(tmp_path, None), "gpu")
    assert finding is not None
    assert finding.verdict in ("ok", "warning")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["driver 18", gpu("a")], ["gpu: NVIDIA's driver does not answer (RM has detected", "reboot the host"]),
        (["driver 9"], ["(Driver Not Loaded)", "modprobe nvidia"]),
        (["driver 4"], ["(Insufficient Permissions)", "/dev/nvidia*"]),
        ([], ["no NVIDIA GPU answers"]),
        (
            [gpu("a"), says_bytes("name", GARBAGE)],
            ["gpu: 1 (no name), driver 580", "the driver's names cannot be read"],
        ),
        (
            [gpu("a"), says_bytes("version", GARBAGE)],
            ["driver of unknown version", "the driver's version cannot be read"],
        ),
        ([gpu("a"), fails("memory", 3)], ["the memory of GPU 0 is the host's", "gpu_memory_utilization"]),
        ([gpu("a"), fails("memory", 4)], ["NVML does not report the memory of GPU 0"]),
        ([gpu("a"), "mig 0"], ["gpu 0: cannot be used: MIG is enabled", "nvidia-smi mig -cgi"]),
        ([gpu("a"), part(0, 0, "MIG-x"), part(0, 1, "MIG-y")], ["gpu: 2 (NVIDIA H200 MIG 1g.18gb), driver 580"]),
        ([gpu("a"), gpu("b", error=15)], ["gpu 1: cannot be used: GPU is lost (NVML error 15)", "Xid"]),
    ],
)
def test_a_driver_and_gpus_in_trouble_are_findings_and_never_a_traceback(
    nvml: FakeNvml, lines: list[str], words: list[str]
) -> None:
    nvml.says(*lines)
    command = [sys.executable, "-m", "muster_agent", "doctor", "--engine", "process", "--vllm-command", "true"]
    env = {**os.environ, **nvml.environment, "MUSTER_STATE_DIR": str(nvml.folder)}
    run = subprocess.run(command, env=env, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (1, ""), "for no control plane is set"
    assert [each for each in words if each not in run.stdout] == [], run.stdout


# The control plane


def test_without_a_url_nothing_is_asked_after_that(tmp_path: Path) -> None:
    assert [each.subject for each in examine(subject(tmp_path, None))][-1] == "api"
    finding = found(subject(tmp_path, None), "api")
    assert finding is not None and finding.verdict == "bad" and "MUSTER_URL" in finding.mend


@pytest.mark.parametrize(
    ("health", "verdict", "said"),
    [(200, "ok", "is healthy"), (307, "bad", "redirects elsewhere"), (404, "bad", "answers 404")],
)
def test_the_answer_to_health_tells_whether_the_url_is_a_control_planes(
    server: Server, tmp_path: Path, health: int, verdict: str, said: str
) -> None:
    server.health = health
    finding = eventually(
        lambda: found(subject(tmp_path, server.url), "api"), lambda seen: seen is not None and said in seen.message
    )
    assert finding is not None and finding.verdict == verdict


@pytest.mark.parametrize("url", ["http://muster.example", "https://user:secret@muster.example", "muster.example"])
def test_a_url_that_the_agent_would_refuse_is_not_asked(tmp_path: Path, url: str) -> None:
    finding = found(subject(tmp_path, url), "api")
    assert finding is not None and finding.verdict == "bad"
    assert "--url" in finding.message and "secret" not in finding.message


def test_a_port_where_nothing_listens_is_no_control_plane(tmp_path: Path) -> None:
    finding = found(subject(tmp_path, "http://127.0.0.1:1"), "api")
    assert finding is not None and finding.verdict == "bad" and "cannot be reached" in finding.message


# The token


@pytest.mark.parametrize(
    ("token", "verdict", "said"),
    [
        ("registration-token", "ok", "the first start tries it"),
        ("mst_key_abc", "bad", "an API key"),
        ("", "bad", "no registration token"),
        (None, "bad", "no registration token"),
    ],
)
def test_a_host_that_has_not_joined_needs_a_registration_token(
    tmp_path: Path, token: str | None, verdict: str, said: str
) -> None:
    finding = found(subject(tmp_path, "http://127.0.0.1:1", token), "token")
    assert finding is not None
    assert (finding.verdict, said in finding.message) == (verdict, True)
    assert token is None or token == "" or token not in finding.message


@pytest.mark.parametrize(("refusal", "verdict"), [(400, "ok"), (404, "ok"), (401, "bad"), (403, "bad"), (410, "bad")])
def test_a_worker_that_joined_is_asked_for_with_its_own_token(
    server: Server, tmp_path: Path, refusal: int, verdict: str
) -> None:
    join(tmp_path)
    server.refusal = refusal
    finding = eventually(
        lambda: found(subject(tmp_path, server.url), "token"), lambda seen: seen is not None and seen.verdict == verdict
    )
    assert finding is not None and "worker-token" not in finding.message
    assert server.bearers[-1] == ("/api/workers/w1/deployments/none/status", "Bearer worker-token")


def test_a_worker_that_joined_is_not_asked_for_where_nothing_answers(tmp_path: Path) -> None:
    join(tmp_path)
    assert found(subject(tmp_path, "http://127.0.0.1:1"), "token") is None


def test_a_parked_agent_is_told_with_its_reason(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "state")
    state.park("another host took its place")
    finding = found(subject(tmp_path, "http://127.0.0.1:1"), "token")
    assert finding is not None and finding.verdict == "bad"
    assert "another host took its place" in finding.message and "--rejoin" in finding.mend
    state.close()


def test_the_journal_is_read_beside_the_agent_that_holds_it(tmp_path: Path) -> None:
    assert journaled(tmp_path / "state") is None
    join(tmp_path, token=None)
    assert journaled(tmp_path / "state") is None, "it has no token: it has yet to join"
    held = StateDir(tmp_path / "state")
    with sqlite3.connect(tmp_path / "state" / "journal.sqlite3") as connection:
        connection.execute("INSERT INTO meta VALUES ('token', 'worker-token')")
    assert journaled(tmp_path / "state") == ("w1", "worker-token")
    held.close()


# The report


def test_a_report_has_a_line_for_each_finding_and_one_for_what_to_do() -> None:
    findings = [
        Finding("api", "ok", "is healthy", "nothing to do"),
        Finding("gpu", "warning", "none answers", "install the driver"),
    ]
    lines: list[str] = []
    assert report(iter(findings), lines.append), "a warning keeps no host from being a worker"
    assert lines == ["ok      api: is healthy", "warning gpu: none answers", "          → install the driver"]


def test_one_bad_finding_is_enough_whatever_comes_after_it() -> None:
    findings = [Finding("docker", "bad", "is not there", "install it"), Finding("api", "ok", "is healthy")]
    lines: list[str] = []
    assert not report(iter(findings), lines.append)
    assert len(lines) == 3
