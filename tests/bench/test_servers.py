"""Servers as processes, with the bare responder and a real `serve`."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest

from bench.figures.heartbeats import run_load
from bench.load import Plan
from bench.servers import BareHttp, Caller, LmStack, Muster, NotMeasured, Worker, request
from tests.fixtures import ROOT
from tests.fixtures.ports import free_port


def test_a_server_is_started_and_stopped(tmp_path: Path) -> None:
    server = BareHttp(tmp_path / "server")
    server.port = free_port()
    with server:
        (pid,) = server.pids()
        assert server.memory() > 2**20 and psutil.pid_exists(pid)
    assert server.pids() == [] and not psutil.pid_exists(pid)


def test_a_server_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    server = LmStack(tmp_path / "server", tmp_path, Path("/bin/false"))
    (tmp_path / "backend").mkdir()
    with pytest.raises(RuntimeError, match="LMStack did not start"):
        server.start()


def test_a_server_without_workers_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotMeasured, match="has no workers"):
        BareHttp(tmp_path).join(Caller(1), 0)


def test_a_request_has_the_length_of_its_body() -> None:
    head, _, body = request("POST", "/x", {"a": 1}, "secret").partition("\r\n\r\n")
    assert json.loads(body) == {"a": 1} and f"Content-Length: {len(body)}" in head
    assert "Authorization: Bearer secret" in head and head.startswith("POST /x HTTP/1.1\r\n")
    assert "Content-Length" not in request("GET", "/x") and "Encoding" not in request("GET", "/x")
    assert "Accept-Encoding: gzip" in request("GET", "/x", encoding="gzip")


def test_lmstack_lists_its_pages_to_the_end(tmp_path: Path) -> None:
    server = LmStack(tmp_path, tmp_path, Path("python"))
    answers = [{"items": [{}] * 100, "total": 150}, {"items": [{}] * 50, "total": 150}]
    assert [server.next_page(answer) for answer in answers] == [100, None]
    assert server.page(100).endswith("skip=100")


def test_a_heartbeat_of_lmstack_has_the_fields_of_its_schema(tmp_path: Path) -> None:
    (text,) = LmStack(tmp_path, tmp_path, Path("python")).heartbeats([Worker(0, "7")])
    body = json.loads(text.partition("\r\n\r\n")[2])
    assert (
        body["worker_id"] == 7
        and len(body["gpu_info"]) == 2
        and set(body["system_info"])
        == {
            "cpu",
            "memory",
            "disk",
        }
    )


def test_a_real_control_plane_is_filled_listed_and_sent_heartbeats(tmp_path: Path) -> None:
    """What `make bench` does with it, with three workers."""
    server = Muster(tmp_path / "server", ROOT)
    server.port = free_port()
    with server:
        requests = server.heartbeats(server.register(3))
        plan = Plan(server.port, connections=2, seconds=0.0, requests=requests, pids=server.pids())
        measured = run_load(plan)
        assert (measured.errors, measured.answers) == (0, 2), measured.sample
        assert server.list_paths() == ["/api/workers?limit=500"]
        page = request("GET", "/api/workers?limit=500", bearer=server.bearer())
        listed = run_load(Plan(server.port, connections=1, seconds=0.0, requests=[page]))
        workers = json.loads(listed.sample.partition("\r\n\r\n")[2])["workers"]
        assert {worker["name"] for worker in workers} == {"worker-00000", "worker-00001", "worker-00002"}
