"""Long waits: answered by the agent's result and not by their end, and never at the cost of heartbeats.

Nothing here measures time. A wait of 25 seconds that began before is what must still be open when an answer is there.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.fixtures.http_client import Operator, Reply
from tests.fixtures.http_workers import Agent, Worker
from tests.fixtures.waiting import eventually

LONG = 25
"""Seconds: the longest that may be asked for."""
LOGS = {"logs": "x\n", "next_since": None, "truncated": False}


class Waiting:
    """Requests for logs that wait, each on a thread of its own; `commands`: container to what its agent was sent."""

    def __init__(self, threads: ThreadPoolExecutor, agent: Agent, operator: Operator) -> None:
        self._threads, self._agent, self._operator = threads, agent, operator
        self._commands: dict[str, str] = {}

    def logs_of(self, *containers: str) -> list["Future[Reply]"]:
        """The requests, once the agent has the command of each."""
        paths = [f"/api/workers/{self._agent.worker_id}/containers/{name}/logs?wait={LONG}" for name in containers]
        waiting = [self._threads.submit(self._operator.get, path) for path in paths]
        eventually(self._arrived, lambda arrived: arrived >= set(containers))
        return waiting

    def _arrived(self) -> set[str]:
        self._commands |= {command["container_id"]: command["command_id"] for command in self._agent.commands()}
        return set(self._commands)

    def answer(self, *containers: str) -> None:
        for name in containers:
            self._agent.result(self._commands[name], output=LOGS).expect(200)


@pytest.fixture
def waiting(agent: Agent, operator: Operator) -> Iterator[Waiting]:
    with ThreadPoolExecutor(16) as threads:
        yield Waiting(threads, agent, operator)


def test_a_wait_is_answered_by_the_result_and_not_by_its_end(waiting: Waiting) -> None:
    [earlier] = waiting.logs_of("earlier")
    [later] = waiting.logs_of("later")
    waiting.answer("later")
    assert later.result().expect(200)["logs"] == "x\n"
    assert not earlier.done(), "a wait of the same length that began before has not ended"
    waiting.answer("earlier")
    assert earlier.result().expect(200)["logs"] == "x\n"


def test_a_wait_is_not_longer_than_asked(waiting: Waiting, worker: Worker, operator: Operator) -> None:
    [longer] = waiting.logs_of("longer")
    operator.get(f"/api/workers/{worker.worker_id}/models?wait=1").expect(202)
    assert not longer.done(), "a longer wait that began before has not ended"
    waiting.answer("longer")
    longer.result().expect(200)


def test_what_cannot_be_asked_is_refused_without_a_wait(waiting: Waiting, worker: Worker, operator: Operator) -> None:
    worker.goodbye()
    [longer] = waiting.logs_of("longer")
    for path in ("containers/abc/logs", "images", "storage/disk?fresh=true", "containers", "models"):
        operator.get(f"/api/workers/{worker.worker_id}/{path}").expect(409, "WORKER_OFFLINE")
    assert not longer.done(), "a wait that began before has not ended"
    waiting.answer("longer")
    longer.result().expect(200)


def test_sixteen_waits_do_not_starve_heartbeats(waiting: Waiting, worker: Worker) -> None:
    names = [f"c{number}" for number in range(16)]
    open_ = waiting.logs_of(*names)
    for _ in range(3):
        worker.beat()
    assert not any(one.done() for one in open_), "a heartbeat waited for those that wait"
    waiting.answer(*names)
    assert [one.result().status for one in open_] == [200] * 16
