"""How the server ends, as a process: what is being answered is answered, and nothing else is waited for."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.fixtures.http_client import session
from tests.fixtures.http_workers import Worker
from tests.fixtures.local_server import connect
from tests.fixtures.serve import ADMIN_KEY, REGISTRATION_TOKEN, Serve
from tests.fixtures.waiting import PATIENCE, eventually

WAIT_SECONDS = 25


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with Serve(tmp_path / "data") as serve:
        yield serve


def wait_for_a_worker(url: str, worker_id: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    target = f"{url}/api/workers/{worker_id}/containers/x/logs?wait={WAIT_SECONDS}"
    return session().get(target, headers=headers, timeout=PATIENCE)


def is_waiting(serve: Serve, worker_id: str) -> bool:
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    target = f"{serve.url}/api/workers/{worker_id}/operations"
    return bool(session().get(target, headers=headers, timeout=PATIENCE).json()["operations"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_wait_for_a_worker_is_answered_when_the_server_ends(serve: Serve, number: signal.Signals) -> None:
    worker = Worker(serve.url, REGISTRATION_TOKEN)
    worker.register()
    worker.beat()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(wait_for_a_worker, serve.url, worker.worker_id)
        eventually(lambda: is_waiting(serve, worker.worker_id), what="the request to wait")
        serve.process.send_signal(number)
        answer = asked.result()
    assert answer.status_code == 202 and answer.headers["Connection"] == "close"
    assert serve.process.wait(PATIENCE) == 0
    assert "Traceback" not in serve.log.read_text()


def test_connections_without_a_whole_request_do_not_keep_it(serve: Serve) -> None:
    begun = b"POST /api/workers/register HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nslow"
    connections = [connect(serve.port) for _ in range(3)]
    for connection, sent in zip(connections, (b"", b"GET /api", begun), strict=True):
        connection.sendall(sent)
    assert session().get(f"{serve.url}/api/health", timeout=PATIENCE).status_code == 200
    serve.process.terminate()
    assert serve.process.wait(PATIENCE) == 0
    for connection in connections:
        with connection:
            assert connection.recv(100) == b""


def test_a_second_signal_ends_it_at_once(serve: Serve) -> None:
    with connect(serve.port) as connection:
        large = b"GET /api/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(large * 200)  # nobody takes the answers
        eventually(lambda: serve.log.read_text().count("openapi.json"), what="the first of the answers")
        serve.process.terminate()
        eventually(lambda: not accepts(serve.port), what="the server to begin to end")
        serve.process.send_signal(signal.SIGINT)
        assert serve.process.wait(PATIENCE) in (0, 1)


def accepts(port: int) -> bool:
    try:
        connect(port).close()
    except OSError:
        return False
    return True
