"""A simulated agent against a server that speaks the protocol."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from bench.soak import simulated_agent
from bench.soak.async_http import Trouble
from bench.soak.simulated_agent import SimulatedAgent
from tests.fixtures import event_loop


class ControlPlane:
    """Answers heartbeats with what waits, and keeps what it was told."""

    def __init__(self) -> None:
        self.waiting: list[list[dict[str, Any]]] = []
        self.heartbeats: list[dict[str, Any]] = []
        self.reports: list[tuple[str, int, int]] = []

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if path.endswith("/register"):
            return {"worker_id": "w1", "session": 5, "token": "t1"}
        if path.endswith("/heartbeat"):
            self.heartbeats.append(body)
            commands = self.waiting.pop(0) if self.waiting else []
            return {"commands": commands, "inbox": len(self.heartbeats), "next_heartbeat_in": 30}
        assert path == "/api/workers/w1/deployments/d1/status"
        self.reports.append((body["status"], body["generation"], body["sequence"]))
        return {"applied": True, "status": body["status"]}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
            except asyncio.IncompleteReadError:
                writer.close()
                return
            length = int(head.partition("Content-Length: ")[2].partition("\r\n")[0])
            body = json.loads(await reader.readexactly(length))
            content = json.dumps(self.answer(head.split()[1], body)).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content))


def command(kind: str, generation: int) -> dict[str, Any]:
    return {"type": kind, "command_id": f"d1-g{generation}", "deployment_id": "d1", "generation": generation}


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch) -> ControlPlane:
    monkeypatch.setattr(simulated_agent, "STEP_SECONDS", 0.0)
    return ControlPlane()


def lives(plane: ControlPlane, beats: int) -> tuple[SimulatedAgent, list[float]]:
    """An agent that registers and sends so many heartbeats, each after all reports; and the waits that it wanted."""

    async def live() -> tuple[SimulatedAgent, list[float]]:
        server = await asyncio.start_server(plane.serve, "127.0.0.1", 0)
        agent = SimulatedAgent(1, server.sockets[0].getsockname()[1], Trouble(), random.Random(1))
        await agent.register()
        waits = []
        for _ in range(beats):
            waits.append(await agent.beat())
            await agent.settled()
        agent.close()
        server.close()
        return agent, waits

    return event_loop.run(live())


def test_a_deploy_is_acknowledged_once_and_reported_up_to_running(plane: ControlPlane) -> None:
    plane.waiting = [[command("deploy", 3)]]
    agent, waits = lives(plane, 3)
    assert plane.reports == [("downloading", 3, 1), ("starting", 3, 2), ("running", 3, 3)]
    assert [beat.get("acks") for beat in plane.heartbeats] == [None, ["d1-g3"], None]
    assert [beat["active_deployments"] for beat in plane.heartbeats] == [[], ["d1"], ["d1"]]
    assert waits == [0.2, 30, 30] and agent.held["d1"].status == "running"


def test_heartbeats_have_session_journal_and_the_last_inbox(plane: ControlPlane) -> None:
    lives(plane, 3)
    assert [beat.get("inbox") for beat in plane.heartbeats] == [None, 1, 2]
    assert {(beat["session"], len(beat["journal_id"])) for beat in plane.heartbeats} == {(5, 32)}


def test_a_command_that_comes_again_is_acknowledged_and_not_executed_again(plane: ControlPlane) -> None:
    plane.waiting = [[command("deploy", 3)], [command("deploy", 3)]]
    lives(plane, 3)
    assert len(plane.reports) == 3 and plane.heartbeats[2]["acks"] == ["d1-g3"]


def test_a_stop_ends_the_deployment_and_an_older_deploy_does_not_bring_it_back(plane: ControlPlane) -> None:
    plane.waiting = [[command("deploy", 3)], [command("stop", 4)], [command("deploy", 3)]]
    agent, _ = lives(plane, 4)
    assert [status for status, _, _ in plane.reports[3:]] == ["stopping", "stopped"]
    assert agent.held["d1"].status == "stopped" and plane.heartbeats[3]["active_deployments"] == []
