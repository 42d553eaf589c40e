"""Long waits: answered by the agent's result and not by their end, and never at the cost of heartbeats.

No test here measures time. A wait of 25 seconds that began before must still be open when an answer arrives. A machine
may need longer than that for the steps between, so a round in which the wait ended by its own time is repeated.
"""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.fixtures.http_client import Operator, Reply
from tests.fixtures.http_workers import Agent, Worker
from tests.fixtures.waiting import eventually

LONG = 25
"""Seconds: the longest that may be asked for."""
ROUNDS = 10
LOGS = {"logs": "x\n", "next_since": None, "truncated": False}


@dataclass(frozen=True)
class Wait:
    """A request for the logs of a container, and the command that its agent was sent for it."""

    reply: "Future[Reply]"
    command_id: str


class Waiting:
    """Requests for logs that wait, each on a thread of its own and for another container."""

    def __init__(self, threads: ThreadPoolExecutor, agent: Agent, operator: Operator) -> None:
        self._threads, self._agent, self._operator = threads, agent, operator
        self._names = (f"c{number}" for number in itertools.count())
        self._commands: dict[str, str] = {}

    def begin(self, number: int = 1) -> list[Wait]:
        """So many requests, once the agent has the command of each."""
        names = list(itertools.islice(self._names, number))
        path = f"/api/workers/{self._agent.worker_id}/containers"
        replies = [self._threads.submit(self._operator.get, f"{path}/{name}/logs?wait={LONG}") for name in names]
        eventually(self._arrived, lambda arrived: arrived >= set(names))
        return [Wait(reply, self._commands[name]) for reply, name in zip(replies, names, strict=True)]

    def _arrived(self) -> set[str]:
        self._commands |= {command["container_id"]: command["command_id"] for command in self._agent.commands()}
        return set(self._commands)

    def answer(self, waits: list[Wait]) -> list[Reply]:
        """What each request is answered, once the agent has sent its result."""
        for wait in waits:
            self._agent.result(wait.command_id, output=LOGS).expect(200)
        return [wait.reply.result() for wait in waits]

    def outlast(self, steps: Callable[[], bool], number: int = 1) -> None:
        """Assert that so many waits that began before the steps are still open after them, and are answered then.

        `steps` returns whether what it asked was answered before the end of its own wait.
        """
        for _ in range(ROUNDS):
            waits = self.begin(number)
            in_time = steps()
            ended = [wait for wait in waits if wait.reply.done()]
            for wait in ended:
                wait.reply.result().expect(202)
            replies = self.answer(waits)
            if in_time and not ended and all(reply.status == 200 for reply in replies):
                assert [reply.body["logs"] for reply in replies] == ["x\n"] * number
                return
        raise AssertionError(f"in each of {ROUNDS} rounds a wait had ended by its own time")


@pytest.fixture
def waiting(agent: Agent, operator: Operator) -> Iterator[Waiting]:
    with ThreadPoolExecutor(16) as threads:
        yield Waiting(threads, agent, operator)


def test_a_wait_is_answered_by_the_result_and_not_by_its_end(waiting: Waiting) -> None:
    def answer_a_later_one() -> bool:
        [reply] = waiting.answer(waiting.begin())
        return reply.status == 200 and reply.body["logs"] == "x\n"

    waiting.outlast(answer_a_later_one)


def test_a_wait_is_not_longer_than_asked(waiting: Waiting, worker: Worker, operator: Operator) -> None:
    def ask() -> bool:
        operator.get(f"/api/workers/{worker.worker_id}/models?wait=1").expect(202)
        return True

    waiting.outlast(ask)


def test_what_cannot_be_asked_is_refused_without_a_wait(waiting: Waiting, worker: Worker, operator: Operator) -> None:
    worker.goodbye()

    def ask() -> bool:
        for path in ("containers/abc/logs", "images", "storage/disk?fresh=true", "containers", "models"):
            operator.get(f"/api/workers/{worker.worker_id}/{path}").expect(409, "WORKER_OFFLINE")
        return True

    waiting.outlast(ask)


def test_sixteen_waits_do_not_starve_heartbeats(waiting: Waiting, worker: Worker) -> None:
    def beat() -> bool:
        for _ in range(3):
            worker.beat()
        return True

    waiting.outlast(beat, 16)
