"""Who may pull when, how often it is tried, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock

import pytest

from muster.api.messages import Progress, Pulled
from muster_agent.engines.base import Cancelled, EngineError
from muster_agent.runner.instances import InstanceCache
from muster_agent.runner.pulls import Pulls
from tests.fixtures.agent_world import Clock
from tests.fixtures.journals import open_journal
from tests.fixtures.memory_engine import MemoryEngine
from tests.fixtures.waiting import PATIENCE, eventually


class Line(MemoryEngine):
    """An engine whose pulls do what the test says: each attempt takes the next of `attempts`."""

    def __init__(self, *attempts: Callable[[Callable[[Progress], None]], None]) -> None:
        super().__init__()
        self.attempts = list(attempts)
        self.lock = Lock()
        self.at_once = self.most_at_once = 0

    def pull(self, reference: str, on_progress: Callable[[Progress], None], cancelled: Event) -> Pulled:
        with self._counted():
            if self.attempts:
                self.attempts.pop(0)(on_progress)
            if cancelled.is_set():
                raise Cancelled
        return Pulled("sha256:1", [reference])

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            yield
        finally:
            with self.lock:
                self.at_once -= 1


def pulls_of(engine: MemoryEngine, folder: Path, pauses: tuple[float, ...] = (0.0, 0.0)) -> Pulls:
    clock = Clock()
    return Pulls(
        engine, open_journal(folder).operations_table, InstanceCache(engine, clock.monotonic), clock.monotonic, pauses
    )


def fails(code: str, *told: Progress) -> Callable[[Callable[[Progress], None]], None]:
    def attempt(on_progress: Callable[[Progress], None]) -> None:
        for each in told:
            on_progress(each)
        raise EngineError(code, "it failed")

    return attempt


def tells(*told: Progress) -> Callable[[Callable[[Progress], None]], None]:
    def attempt(on_progress: Callable[[Progress], None]) -> None:
        for each in told:
            on_progress(each)

    return attempt


@pytest.mark.parametrize("code", ["REGISTRY_UNREACHABLE", "PULL_STALLED", "DOCKER_UNAVAILABLE"])
def test_what_may_be_over_in_a_moment_is_tried_again(tmp_path: Path, code: str) -> None:
    engine = Line(fails(code), fails(code))
    assert pulls_of(engine, tmp_path).pull("i", lambda progress: None, Event()).id == "sha256:1"


def test_it_is_not_tried_for_ever(tmp_path: Path) -> None:
    engine = Line(*[fails("REGISTRY_UNREACHABLE")] * 5)
    with pytest.raises(EngineError):
        pulls_of(engine, tmp_path).pull("i", lambda progress: None, Event())
    assert len(engine.attempts) == 2


@pytest.mark.parametrize("code", ["IMAGE_NOT_FOUND", "REGISTRY_UNAUTHORIZED", "DISK_FULL"])
def test_what_would_fail_again_is_not_tried_again(tmp_path: Path, code: str) -> None:
    engine = Line(fails(code))
    with pytest.raises(EngineError) as raised:
        pulls_of(engine, tmp_path).pull("i", lambda progress: None, Event())
    assert raised.value.error_code == code


def test_a_further_attempt_does_not_run_backwards(tmp_path: Path) -> None:
    engine = Line(
        fails("PULL_STALLED", Progress("downloading", 30, 100, 30, 7)),
        tells(Progress("downloading", 5, 100, 5, 9), Progress("extracting", 60, 100, 60, 8)),
    )
    told: list[Progress] = []
    pulls_of(engine, tmp_path).pull("i", told.append, Event())
    assert told == [
        Progress("downloading", 30, 100, 30, 7),
        Progress("retrying", 30, 100, 30),
        Progress("downloading", 30, 100, 30, 9),
        Progress("extracting", 60, 100, 60, 8),
    ]


def test_a_pause_between_attempts_ends_when_nobody_wants_it_any_more(tmp_path: Path) -> None:
    cancelled = Event()

    def attempt(on_progress: Callable[[Progress], None]) -> None:
        cancelled.set()
        raise EngineError("REGISTRY_UNREACHABLE", "it failed")

    with pytest.raises(Cancelled):
        pulls_of(Line(attempt), tmp_path, (3600.0,)).pull("i", lambda progress: None, cancelled)


def test_two_at_once_and_the_others_say_that_they_wait(tmp_path: Path) -> None:
    go = Event()

    def attempt(on_progress: Callable[[Progress], None]) -> None:
        go.wait(PATIENCE)

    engine = Line(*[attempt] * 5)
    pulls = pulls_of(engine, tmp_path)
    told: list[Progress] = []
    called_off = Event()
    with ThreadPoolExecutor(5) as pool:
        try:
            first = [pool.submit(pulls.pull, str(each), lambda progress: None, Event()) for each in range(2)]
            eventually(lambda: engine.at_once == 2)
            others = [pool.submit(pulls.pull, str(each), told.append, Event()) for each in range(2, 4)]
            unwanted = pool.submit(pulls.pull, "5", lambda progress: None, called_off)
            eventually(lambda: len(told) == 2)
            called_off.set()
            with pytest.raises(Cancelled):
                unwanted.result(PATIENCE)
            assert engine.at_once == 2
            go.set()
            for each in (*first, *others):
                each.result(PATIENCE)
        finally:
            called_off.set()
            go.set()
    assert engine.most_at_once == 2
    assert {each.phase for each in told} == {"waiting"}


def test_each_retry_is_told_with_its_reason_and_its_number(tmp_path: Path) -> None:
    engine = Line(fails("REGISTRY_UNREACHABLE", Progress("downloading", 1, 4, 25)), fails("PULL_STALLED"))
    told: list[tuple[str, Progress]] = []
    pulls = pulls_of(engine, tmp_path)
    pulls.pull("i", lambda progress: None, Event(), lambda why, progress: told.append((why, progress)))
    assert [why.split(": ")[0] for why, _ in told] == ["REGISTRY_UNREACHABLE", "PULL_STALLED"]
    assert [why.partition("(")[2] for why, _ in told] == ["attempt 2 of 3 in 0 s)", "attempt 3 of 3 in 0 s)"]
    assert told[0][1] == Progress("retrying", 1, 4, 25)
