"""Usage is counted once: across restarts, lost answers, lost files, and full disks."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster.api.gateways import UsageReport, UsageSum
from muster.gateway import ledger as module
from muster.gateway.data_dir import DataError
from muster.gateway.ledger import SUMS_PER_REPORT, Ledger
from tests.fixtures.waiting import deadline, eventually

DAY = "2026-12-01"
NOON = 1_796_126_400.0
"""2026-12-01T12:00:00Z."""


class Server:
    """What the control plane does with reports: a sum is stored unless it is smaller; ledgers are added up."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, str, str, str], tuple[int, int, int]] = {}

    def take(self, report: UsageReport) -> None:
        assert len(report.sums) <= SUMS_PER_REPORT
        for each in report.sums:
            key = report.ledger_id, each.key_id, each.model, each.day
            new = each.requests, each.prompt_tokens, each.completion_tokens
            if all(a >= b for a, b in zip(new, self.sums.get(key, (0, 0, 0)), strict=True)):
                self.sums[key] = new

    def requests(self) -> int:
        return sum(requests for requests, _, _ in self.sums.values())


def report_all(ledger: Ledger, server: Server) -> None:
    for report in ledger.reports():
        server.take(report)
        ledger.confirm(report)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite3"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with closing(Ledger(path, lambda: NOON)) as made:
        yield made


def test_sums_grow_and_only_what_is_on_disk_is_reported(ledger: Ledger) -> None:
    ledger.add("k", "qwen", DAY, requests=1, prompt_tokens=10)
    ledger.add("k", "qwen", DAY, completion_tokens=5)
    assert ledger.reports() == []
    assert ledger.flush()
    (report,) = ledger.reports()
    assert report == UsageReport(ledger.ledger_id, [UsageSum("k", "qwen", DAY, 1, 10, 5)])
    ledger.add("k", "qwen", DAY, requests=1)
    assert ledger.reports() == [report]


def test_what_was_confirmed_is_not_reported_again_until_it_changes(ledger: Ledger) -> None:
    ledger.add("k", "qwen", DAY, requests=1)
    ledger.flush()
    (report,) = ledger.reports()
    ledger.confirm(report)
    assert ledger.reports() == []
    ledger.add("k", "qwen", DAY, requests=1)
    ledger.flush()
    assert ledger.reports()[0].sums[0].requests == 2


def test_a_restart_goes_on_under_the_same_id(path: Path) -> None:
    with closing(Ledger(path, lambda: NOON)) as first:
        first.add("k", "qwen", DAY, requests=2, prompt_tokens=7)
        first.flush()
        first.confirm(first.reports()[0])
        first.add("k", "llama", DAY, requests=1)
    with closing(Ledger(path, lambda: NOON)) as second:
        assert second.ledger_id == first.ledger_id
        assert [each.model for report in second.reports() for each in report.sums] == ["llama"]
        second.add("k", "qwen", DAY, requests=1)
        second.flush()
        assert sorted(each.requests for each in second.reports()[0].sums) == [1, 3]
        assert second.tokens_of_day("k", int(NOON // 86400)) == 7


def test_reports_have_at_most_a_hundred_sums(ledger: Ledger) -> None:
    for number in range(250):
        ledger.add(f"k{number}", "qwen", DAY, requests=1)
    ledger.flush()
    assert [len(report.sums) for report in ledger.reports()] == [100, 100, 50]


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\x00 and then noise" * 100, b"x" * 5000])
def test_a_damaged_file_begins_a_new_ledger_and_the_old_sums_still_count(
    path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()
    with closing(Ledger(path, lambda: NOON)) as first:
        first.add("k", "qwen", DAY, requests=5)
        first.flush()
        report_all(first, server)
    path.write_bytes(content)
    with closing(Ledger(path, lambda: NOON)) as second:
        assert second.ledger_id != first.ledger_id
        second.add("k", "qwen", DAY, requests=2)
        second.flush()
        report_all(second, server)
    assert server.requests() == 7
    if content:
        assert "a new ledger begins" in caplog.text
        assert path.with_name("ledger.sqlite3.damaged").read_bytes() == content


def test_a_lost_file_begins_a_new_ledger(path: Path) -> None:
    with closing(Ledger(path)) as first:
        pass
    path.unlink()
    with closing(Ledger(path)) as second:
        assert second.ledger_id != first.ledger_id


def test_a_file_that_is_lost_while_the_gateway_runs_is_written_again(
    ledger: Ledger, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.add("k", "qwen", DAY, requests=5)
    ledger.flush()
    path.unlink()
    ledger.add("k", "llama", DAY, requests=1)
    assert ledger.flush() and "is written again" in caplog.text
    ledger.close()
    with closing(Ledger(path)) as again:
        assert again.ledger_id == ledger.ledger_id
        assert sorted(each.requests for each in again.reports()[0].sums) == [1, 5]


def test_a_file_that_cannot_be_written_keeps_usage_in_memory(
    ledger: Ledger, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        ledger._file._connection.execute("PRAGMA busy_timeout = 0")
        other.execute("BEGIN EXCLUSIVE")
        ledger.add("k", "qwen", DAY, requests=1)
        assert not ledger.flush() and not ledger.flush() and ledger.reports() == []
        other.execute("ROLLBACK")
    assert ledger.flush() and ledger.reports()[0].sums[0].requests == 1
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2 and "stays in memory" in lines[0] and "again" in lines[1]


def test_a_newer_releases_ledger_is_not_touched(path: Path) -> None:
    Ledger(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 9")
    with pytest.raises(DataError, match="written by a newer release"):
        Ledger(path)
    assert not path.with_name("ledger.sqlite3.damaged").exists()


def test_a_place_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot use"):
        Ledger(tmp_path / "nothing" / "ledger.sqlite3")


def test_a_good_file_that_cannot_be_used_now_is_not_put_aside(path: Path) -> None:
    Ledger(path).close()
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))
    with pytest.raises(DataError, match="cannot use"):
        Ledger(path)
    assert path.is_symlink()


def test_old_days_are_dropped_once_they_were_confirmed(path: Path) -> None:
    now = [NOON]
    with closing(Ledger(path, lambda: now[0])) as ledger:
        ledger.add("k", "qwen", DAY, requests=1, prompt_tokens=3)
        ledger.add("k", "llama", DAY, requests=1)
        ledger.flush()
        report = ledger.reports()[0]
        ledger.confirm(UsageReport(report.ledger_id, [each for each in report.sums if each.model == "qwen"]))
        now[0] += 3 * 86400
        ledger.flush()
        assert [each.model for each in ledger.reports()[0].sums] == ["llama"]
        assert ledger.tokens_of_day("k", int(NOON // 86400)) == 0
        ledger.confirm(ledger.reports()[0])
        ledger.flush()
    with closing(Ledger(path)) as again:
        assert again._rows == {}


def test_memory_is_bounded_and_what_was_confirmed_goes_first(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(module.MAX_ROWS):
        ledger.add("k", f"model {number}", DAY, requests=1)
    ledger.flush()
    confirmed = ledger.reports()[:10]
    for report in confirmed:
        ledger.confirm(report)
    ledger.add("k", "one more", DAY, requests=1)
    assert len(ledger._rows) == module.MAX_ROWS - module.DROPPED_AT_ONCE + 1 and caplog.text == ""
    for number in range(module.DROPPED_AT_ONCE):
        ledger.add("k", f"and more {number}", DAY, requests=1)
    assert len(ledger._rows) <= module.MAX_ROWS
    assert "1000 of its oldest sums were dropped before they were reported" in caplog.text


def test_sums_never_fall_and_fit_what_the_control_plane_takes(ledger: Ledger) -> None:
    ledger.add("k", "qwen", DAY, requests=1, prompt_tokens=-5, completion_tokens=2**60)
    ledger.flush()
    assert ledger.reports()[0].sums[0] == UsageSum("k", "qwen", DAY, 1, 0, 2**53)


def test_what_changed_is_written_without_being_asked(path: Path) -> None:
    with closing(Ledger(path, lambda: NOON)) as ledger:
        ledger.start(0.01)
        ledger.add("k", "qwen", DAY, requests=1)
        eventually(ledger.reports, what="the transaction")


KILLED = """
import sys, time
from pathlib import Path
from muster.gateway.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
ledger.start(0.01)
for number in range(100_000_000):
    ledger.add("k", "qwen", "2026-12-01", requests=1)
    if number % 1000 == 0:
        for report in ledger.reports():
            print(report.sums[0].requests, flush=True)
            ledger.confirm(report)
        time.sleep(0.002)
"""


def test_a_killed_gateway_has_on_disk_all_that_it_reported(path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with deadline(child):
        lines = [child.stdout.readline() for _ in range(5)]
        os.kill(child.pid, signal.SIGKILL)
        lines += child.stdout.read().splitlines()
    child.wait()
    reported = max(int(line) for line in lines if line.strip())
    with closing(Ledger(path)) as again:
        again.add("k", "qwen", DAY, requests=1)
        again.flush()
        assert again.reports()[0].sums[0].requests > reported


STEPS = st.lists(
    st.sampled_from(["add", "flush", "report", "lose the answer", "restart", "lose the file"]), max_size=40
)


@given(STEPS)
@settings(max_examples=60)
def test_whatever_happens_each_request_is_counted_at_most_once_and_what_was_reported_is_kept(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite3"
    server, ledger, added, lost = Server(), Ledger(path, lambda: NOON), 0, 0
    unreported = 0
    for step in steps:
        if step == "add":
            ledger.add("k", "qwen", DAY, requests=1)
            added += 1
            unreported += 1
        elif step == "flush":
            ledger.flush()
        elif step == "report":
            ledger.flush()
            report_all(ledger, server)
            unreported = 0
        elif step == "lose the answer":
            for report in ledger.reports():
                server.take(report)
        else:
            ledger.close()
            if step == "lose the file":
                lost += unreported
                unreported = 0
                path.unlink()
            ledger = Ledger(path, lambda: NOON)
        assert added - lost - unreported <= server.requests() <= added
    ledger.flush()
    report_all(ledger, server)
    ledger.close()
    assert added - lost <= server.requests() <= added
