"""Threads for what may block: started as they are needed, kept, and left behind when the process ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

log = logging.getLogger(__name__)


class Threads:
    """`most` threads at most. What they do beyond the process's end is cut off: nobody waits for it."""

    def __init__(self, most: int, prepare: Callable[[], object] = lambda: None) -> None:
        """`prepare` is called once in each thread."""
        self._most, self._prepare = most, prepare
        self._lock = threading.Lock()
        self._tasks: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._threads = self._idle = 0

    def submit(self, task: Callable[[], object]) -> None:
        """Call `task` in a thread, now or as soon as one is free."""
        with self._lock:
            if self._idle:
                self._idle -= 1
            elif self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._work, name=f"request {self._threads}", daemon=True).start()
        self._tasks.put(task)

    def _work(self) -> None:
        self._prepare()
        while True:
            task = self._tasks.get()
            try:
                task()
            except Exception:  # a thread outlives its tasks
                log.exception("a task failed")
            with self._lock:
                self._idle += 1
