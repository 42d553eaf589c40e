"""The bytes of an idle heartbeat on the wire, both ways with all headers: the agent's client and a real server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pytest

from muster.api import messages as m
from muster.api import usage
from muster_agent.control.client import Api
from tests.fixtures.serve import REGISTRATION_TOKEN, Serve

MAX_BYTES = 600
"""Of a short heartbeat of a worker with two GPUs and two deployments, and of its answer."""
GIB = 2**30


@dataclass
class Relay:
    """Carries one connection to a server, and counts the bytes."""

    url: str
    sent: bytes = b""
    received: bytes = b""

    @property
    def count(self) -> int:
        return len(self.sent) + len(self.received)

    def clear(self) -> None:
        self.sent = self.received = b""


@contextmanager
def relay(port: int) -> Iterator[Relay]:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(("127.0.0.1", port)) as server:
        made = Relay(f"http://127.0.0.1:{listening.getsockname()[1]}")
        clients: list[socket.socket] = []

        def carry_requests() -> None:
            client, _ = listening.accept()
            clients.append(client)
            threading.Thread(target=carry_answers, args=(client,), daemon=True).start()
            while part := client.recv(65536):
                made.sent += part
                server.sendall(part)

        def carry_answers(client: socket.socket) -> None:
            with suppress(OSError):
                while part := server.recv(65536):
                    made.received += part  # before the client has it: what it has read is counted
                    client.sendall(part)

        thread = threading.Thread(target=carry_requests, daemon=True)
        thread.start()
        yield made
        for client in clients:
            client.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    with Serve(tmp_path_factory.mktemp("serve") / "data", MUSTER_HEARTBEAT="30") as serve:
        yield serve


def registration() -> m.Registration:
    gpus = m.GpuInfo(2, [m.GpuDevice(index, "NVIDIA H200", 141 * GIB) for index in range(2)])
    return m.Registration(
        "gpu-1", REGISTRATION_TOKEN, gpus, m.SystemInfo("gpu-1"), machine_id="m" * 32, boot_id="b" * 36
    )


def test_an_idle_heartbeat_and_its_answer_have_at_most_600_bytes(serve: Serve) -> None:
    with relay(serve.port) as wire:
        api = Api(wire.url)
        worker = api.register(registration(), None)
        full = m.Heartbeat(
            "online",
            [m.GpuUsage(index, 130 * GIB + index, 97.0) for index in range(2)],
            ["e1fc10ee-2104-4cec-ab96-ac51ed87f1ff", "0d9a7c1e-5b7f-4c55-9d0e-6d1f6f3b8a21"],
            session=worker.session,
            journal_id="6f0e4c1d2b7a4b0c9d3e8f7a6b5c4d3e",
            disk=m.Disk(270553174016, 24804085760, 84140208128, 9.2),
        )
        digest = None
        while digest is None:
            answer = api.heartbeat(worker.worker_id, worker.token, full)
            full.inbox, digest = answer.inbox, answer.digest
        short = m.ShortHeartbeat(worker.session, digest, usage.pack(full))
        wire.clear()
        assert api.short_heartbeat(worker.worker_id, worker.token, short).full is False
        assert wire.count <= MAX_BYTES, f"{wire.sent.decode()}\n{wire.received.decode()}"
        sent = wire.sent.lower()
        for needless in (b"\r\naccept", b"\r\nconnection", b"python-requests"):
            assert needless not in sent
        assert b"\r\nuser-agent: muster-agent\r\n" in sent
