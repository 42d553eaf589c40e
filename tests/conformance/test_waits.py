"""Long waits: answered by the agent's result and not by their end, and never at the cost of heartbeats."""

import time
from concurrent.futures import ThreadPoolExecutor

from tests.fixtures.http_client import Operator
from tests.fixtures.http_workers import Agent, Worker
from tests.fixtures.waiting import eventually

LONG = 20
SOON = LONG / 2
"""Seconds. Machines are noisy: what has to be told apart is an answer and the end of the wait."""
LOGS = {"logs": "x\n", "next_since": None, "truncated": False}


def test_a_wait_is_answered_by_the_result(agent: Agent, operator: Operator) -> None:
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(operator.get, f"/api/workers/{agent.worker_id}/containers/abc/logs?wait={LONG}")
        command = agent.fetch("container_logs")
        agent.result(command["command_id"], output=LOGS).expect(200)
        answered = time.monotonic()
        assert waiting.result().expect(200)["logs"] == "x\n"
        assert time.monotonic() - answered < SOON


def test_a_wait_is_not_longer_than_asked(worker: Worker, operator: Operator) -> None:
    started = time.monotonic()
    operator.get(f"/api/workers/{worker.worker_id}/models?wait=1").expect(202)
    assert 0.5 < time.monotonic() - started < SOON


def test_sixteen_waits_do_not_starve_heartbeats(agent: Agent, worker: Worker, operator: Operator) -> None:
    paths = [f"/api/workers/{agent.worker_id}/containers/c{number}/logs?wait={LONG}" for number in range(16)]
    with ThreadPoolExecutor(16) as threads:
        waiting = [threads.submit(operator.get, path) for path in paths]
        commands: dict[str, str] = {}

        def arrive() -> int:
            commands.update({command["container_id"]: command["command_id"] for command in agent.commands()})
            return len(commands)

        eventually(arrive, lambda count: count == 16)
        slowest = max(_seconds_of_a_beat(worker) for _ in range(10))
        for command_id in commands.values():
            agent.result(command_id, output=LOGS).expect(200)
        answered = time.monotonic()
        assert [one.result().status for one in waiting] == [200] * 16
        assert time.monotonic() - answered < SOON
    assert slowest < SOON, "a heartbeat waited for those that wait"


def _seconds_of_a_beat(worker: Worker) -> float:
    started = time.monotonic()
    worker.beat()
    return time.monotonic() - started
