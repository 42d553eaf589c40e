"""Changes reach the disk in groups: one transaction with one sync for all that were staged during the one before.

    stage ──► staged ──► one SQLite transaction, synced ──► durable: the answers that waited are given
                                    │
                                    └── refused (a full disk) ──► undone in memory, newest first; errors are answered
                                    └── broken (an I/O error) ──► the same, and the process ends

A sequence number says how much an answer has seen. Nothing that was seen leaves the process before it is durable, so a
group that fails takes nothing back that anybody was told.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Iterable
from threading import Condition, Lock, RLock, Thread
from typing import Generic, TypeVar

from muster.files.sqlite_errors import BUSY, CANTOPEN, FULL, PERM, READONLY, primary_code_of

log = logging.getLogger(__name__)

T = TypeVar("T")
Callback = Callable[["CommitFailed | None"], None]
REFUSED = frozenset({FULL, READONLY, PERM, CANTOPEN, BUSY})
"""Errors after which the file is as it was before. After any other, nobody knows what the disk has."""
WAY_OUT = "free space on its disk, or make it writable: nothing of what failed was stored"


class CommitFailed(Exception):
    """What an answer depends on could not be written, and is undone."""


def end_process() -> None:
    """End at once. The next start reads what is on the disk."""
    os._exit(1)


class GroupCommit(Generic[T]):
    """`write` writes a group, all of it or (with an exception) nothing. `undo` takes back a group, newest first.

    `state_lock` is the lock under which changes are made, staged, and undone.
    """

    def __init__(
        self,
        state_lock: RLock,
        write: Callable[[list[T]], None],
        undo: Callable[[Iterable[T]], None],
        end: Callable[[], None] = end_process,
    ) -> None:
        self._state_lock, self._write, self._undo, self._end = state_lock, write, undo, end
        self._guard = Condition(Lock())
        self._staged: list[T] = []
        self._waiting: list[tuple[int, Callback]] = []
        self._failed: list[tuple[int, int]] = []
        self._is_closed = False
        self._thread: Thread | None = None
        self.sequence = 0
        """Of the last change that was staged."""
        self.durable = 0
        """All changes up to this one are on the disk, or have failed."""

    def stage(self, changes: Iterable[T]) -> None:
        """Changes that were made, in order. The caller holds `state_lock`."""
        with self._guard:
            self._staged.extend(changes)
            self.sequence += 1
            if self._thread is None:
                self._thread = Thread(target=self._run, name="group commit", daemon=True)
                self._thread.start()
            self._guard.notify()

    def when_durable(self, sequence: int, callback: Callback) -> None:
        """Call back once, when all changes up to `sequence` are durable, or with the error when they failed.

        The caller's thread or the committer's calls it; it must not block, and must not raise.
        """
        with self._guard:
            if sequence > self.durable:
                self._waiting.append((sequence, callback))
                return
        callback(self.failure(sequence))

    def wait(self, sequence: int) -> None:
        """Returns once all changes up to `sequence` are durable. Raises CommitFailed."""
        if sequence > self.durable:
            done = Lock()
            done.acquire()
            failures: list[CommitFailed | None] = []

            def call(failure: CommitFailed | None) -> None:
                failures.append(failure)
                done.release()

            self.when_durable(sequence, call)
            done.acquire()
            failure = failures[0]
        else:
            failure = self.failure(sequence)
        if failure is not None:
            raise failure

    def failure(self, sequence: int) -> CommitFailed | None:
        """The error of a change that is not durable and never will be."""
        if any(first <= sequence <= last for first, last in self._failed):
            return CommitFailed("the data directory cannot be written")
        return None

    def close(self) -> None:
        """Write what is staged, and end the thread."""
        with self._guard:
            self._is_closed = True
            self._guard.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._guard:
                while not self._staged and not self._is_closed:
                    self._guard.wait()
                group, self._staged = self._staged, []
                last = self.sequence
            if not group:
                return
            try:
                self._write(group)
            except sqlite3.Error as error:
                self._fail(group, error, is_over=primary_code_of(error) not in REFUSED)
            except BaseException as error:  # whatever it is, memory must not be ahead of the disk
                self._fail(group, error, is_over=True)
            else:
                self._settle(last)

    def _fail(self, group: list[T], error: BaseException, is_over: bool) -> None:
        """Undo the group, and all that was made after it, which may follow from it."""
        with self._state_lock:
            with self._guard:
                group, self._staged = [*group, *self._staged], []
                first, last = self.durable + 1, self.sequence
                self._failed.append((first, last))
                self.sequence += 1  # what is seen from now on does not depend on them
            self._undo(reversed(group))
        if is_over:
            log.error("muster: cannot write to the data directory (%s), and the server ends: check the disk", error)
        else:
            log.error("muster: cannot write to the data directory: %s; %s", error, WAY_OUT)
        self._settle(last + 1)
        if is_over:
            self._end()

    def _settle(self, sequence: int) -> None:
        """All changes up to `sequence` are durable, or have failed: call back those who wait for them."""
        with self._guard:
            self.durable = sequence
            done = [waiter for waiter in self._waiting if waiter[0] <= sequence]
            if done:
                self._waiting = [waiter for waiter in self._waiting if waiter[0] > sequence]
        for seen, callback in done:
            callback(self.failure(seen))
