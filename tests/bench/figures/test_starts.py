"""The figure of starts."""

from __future__ import annotations

from pathlib import Path

from bench.figure import FULL
from bench.figures import starts
from bench.peers import Bench
from bench.servers import BareHttp, Caller, Worker
from tests.fixtures.ports import free_port


class Counted(BareHttp):
    """A server that counts its starts and its workers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port = free_port()
        self.starts = self.workers = 0

    def start(self) -> float:
        self.starts += 1
        return super().start()

    def join(self, caller: Caller, number: int) -> Worker:
        self.workers += 1
        return Worker(number, "")


def test_data_is_prepared_once_and_each_measurement_is_a_start(tmp_path: Path) -> None:
    made: list[Counted] = []

    def make(folder: Path) -> Counted:
        made.append(Counted(folder))
        return made[-1]

    subject = starts.Starts("counted", make, tmp_path)
    measured = [subject.measure("1,002") for _ in range(2)]
    (server,) = made
    assert (server.starts, server.workers, server.process) == (3, 1002, None)
    assert all(found["seconds"] > 0 and found["memory"] > 1 for found in measured)


def test_a_start_is_compared_with_the_one_without_workers_of_its_round(tmp_path: Path) -> None:
    subject = starts.Starts("counted", Counted, tmp_path)
    assert "growth" not in subject.measure("2")
    empty, filled = subject.measure("0"), subject.measure("2")
    assert empty["growth"] == 1 and filled["growth"] == filled["seconds"] / empty["seconds"]


def test_a_full_run_starts_with_0_1000_and_10000_workers(tmp_path: Path) -> None:
    figure = starts.figure(Bench(tmp_path, FULL))
    assert figure.cases == ["0", "1,000", "10,000"] and [s.name for s in figure.subjects] == ["Muster", "FastAPI"]
