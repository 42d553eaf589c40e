"""The figure of lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.figure import FULL, QUICK, Scale
from bench.figures import lists
from bench.peers import Bench
from bench.servers import BareHttp, Caller, NotMeasured, Worker
from tests.fixtures.ports import free_port


class Pages(BareHttp):
    """A server that answers each page with the same bytes, and has two pages."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port = free_port()
        self.joined: list[int] = []

    def join(self, caller: Caller, number: int) -> Worker:
        self.joined.append(number)
        return Worker(number, str(number))

    def page(self, position: Any = None) -> str:
        return f"/{position}"

    def next_page(self, answer: Any) -> Any:
        self.pages = getattr(self, "pages", 0) + 1
        return self.pages if self.pages < 2 else None


def test_a_list_is_all_its_pages(tmp_path: Path) -> None:
    made: list[Pages] = []

    def make(folder: Path) -> Pages:
        made.append(Pages(folder))
        return made[-1]

    subject = lists.Lists("pages", make, tmp_path, Scale(1, 0.02, 3))
    try:
        measured = subject.measure("3")
        subject.measure("3, gzip")
    finally:
        subject.stop()
    assert sorted(made[0].joined) == [0, 1, 2] and measured["requests"] == 2
    assert len(made) == 1, "the same server for all cases of so many workers"
    assert measured["kilobytes"] == pytest.approx(2 * 0.136, rel=0.1) and measured["wall"] > 0


def test_lmstack_has_no_list_of_10000(tmp_path: Path) -> None:
    subject = lists.Lists("LMStack, 1 process", Pages, tmp_path, FULL)
    with pytest.raises(NotMeasured, match="too long"):
        subject.measure("10,000")


def test_a_full_run_lists_1000_and_10000_workers(tmp_path: Path) -> None:
    assert lists.figure(Bench(tmp_path, FULL)).cases == ["1,000", "1,000, gzip", "10,000", "10,000, gzip"]
    assert lists.figure(Bench(tmp_path, QUICK)).cases == ["20", "20, gzip"]
