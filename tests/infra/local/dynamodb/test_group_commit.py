"""Changes that come together are one transaction, and what a failed one had changed is taken back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Event, RLock

import pytest

from infra.local.dynamodb.group_commit import CommitFailed, GroupCommit
from tests.fixtures.waiting import PATIENCE


def full() -> sqlite3.Error:
    """SQLite's own error for a full disk, with its code."""
    connection = sqlite3.connect(":memory:")
    connection.executescript("CREATE TABLE t (a); PRAGMA max_page_count = 2")
    try:
        connection.execute("INSERT INTO t VALUES (?)", (b"x" * 100_000,))
    except sqlite3.Error as error:
        return error
    finally:
        connection.close()
    raise AssertionError("there is room")


class Disk:
    """Notes groups. Each write waits for `go`, and raises `error` if there is one."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.undone: list[str] = []
        self.began, self.go, self.ended = Event(), Event(), Event()
        self.error: Exception | None = None

    def write(self, group: list[str]) -> None:
        self.began.set()
        assert self.go.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        self.groups.append(group)

    def undo(self, changes: Iterable[str]) -> None:
        self.undone += changes


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def commits(disk: Disk) -> Iterator[GroupCommit[str]]:
    made = GroupCommit(RLock(), disk.write, disk.undo, disk.ended.set)
    yield made
    disk.go.set()
    made.close()


def heard(commits: GroupCommit[str], sequence: int) -> tuple[Event, list[CommitFailed | None]]:
    """An event for the answer about a sequence, and the answer."""
    event, answers = Event(), list[CommitFailed | None]()

    def call(failure: CommitFailed | None) -> None:
        answers.append(failure)
        event.set()

    commits.when_durable(sequence, call)
    return event, answers


def test_what_comes_during_a_write_is_one_group(disk: Disk, commits: GroupCommit[str]) -> None:
    commits.stage(["a"])
    assert disk.began.wait(PATIENCE)
    for change in ("b", "c", "d"):
        commits.stage([change])
    disk.go.set()
    commits.wait(commits.sequence)
    assert disk.groups == [["a"], ["b", "c", "d"]]


def test_nothing_is_durable_before_its_group_is_written(disk: Disk, commits: GroupCommit[str]) -> None:
    commits.stage(["a"])
    event, answers = heard(commits, 1)
    assert disk.began.wait(PATIENCE)
    assert not event.is_set() and commits.durable == 0
    disk.go.set()
    assert event.wait(PATIENCE) and answers == [None] and commits.durable == 1


def test_what_is_durable_is_said_at_once(disk: Disk, commits: GroupCommit[str]) -> None:
    event, answers = heard(commits, 0)
    assert event.is_set() and answers == [None]


def test_a_full_disk_undoes_the_group_and_what_followed_newest_first(
    disk: Disk, commits: GroupCommit[str], caplog: pytest.LogCaptureFixture
) -> None:
    disk.error = full()
    commits.stage(["a", "b"])
    assert disk.began.wait(PATIENCE)
    commits.stage(["c"])
    waits = [heard(commits, sequence) for sequence in (1, 2)]
    disk.go.set()
    for event, answers in waits:
        assert event.wait(PATIENCE) and isinstance(answers[0], CommitFailed)
    assert disk.undone == ["c", "b", "a"]
    assert not disk.ended.is_set()
    assert "database or disk is full; free space" in caplog.text
    disk.error = None
    commits.wait(commits.sequence)  # what is seen now does not depend on what is undone
    commits.stage(["d"])
    commits.wait(commits.sequence)
    assert disk.groups == [["d"]]
    with pytest.raises(CommitFailed):
        commits.wait(2)


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk I/O error"), RuntimeError("a mistake")])
def test_a_disk_that_may_have_anything_ends_the_process(
    disk: Disk, commits: GroupCommit[str], error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    disk.error = error
    disk.go.set()
    commits.stage(["a"])
    with pytest.raises(CommitFailed):
        commits.wait(1)
    assert disk.ended.wait(PATIENCE) and disk.undone == ["a"]
    assert "the server ends" in caplog.text


def test_closing_writes_what_is_staged(disk: Disk, commits: GroupCommit[str], tmp_path: Path) -> None:
    disk.go.set()
    commits.stage(["a"])
    commits.stage(["b"])
    commits.close()
    assert [change for group in disk.groups for change in group] == ["a", "b"]
