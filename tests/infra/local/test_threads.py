"""Tasks run beside each other, in as many threads as there may be."""

from __future__ import annotations

import threading

from infra.local.threads import Threads
from tests.fixtures.waiting import PATIENCE, eventually


def test_tasks_that_wait_hold_up_no_other_while_there_are_threads() -> None:
    threads, over, begun = Threads(3), threading.Event(), threading.Semaphore(0)

    def wait() -> None:
        begun.release()
        over.wait(PATIENCE)

    for _ in range(2):
        threads.submit(wait)
    for _ in range(2):
        assert begun.acquire(timeout=PATIENCE)
    done = threading.Event()
    threads.submit(done.set)
    assert done.wait(PATIENCE)
    over.set()


def test_more_tasks_than_threads_are_all_done_by_no_more_threads() -> None:
    threads, names, lock = Threads(2), list[str](), threading.Lock()

    def note() -> None:
        with lock:
            names.append(threading.current_thread().name)

    for _ in range(50):
        threads.submit(note)
    eventually(lambda: len(names), lambda count: count == 50)
    assert len(set(names)) <= 2


def test_a_task_that_fails_costs_no_thread() -> None:
    threads, done = Threads(1), threading.Event()
    threads.submit(lambda: 1 / 0)
    threads.submit(done.set)
    assert done.wait(PATIENCE)


def test_each_thread_is_prepared_before_its_first_task() -> None:
    prepared, done = list[str](), threading.Event()
    threads = Threads(1, lambda: prepared.append(threading.current_thread().name))
    threads.submit(lambda: None)
    threads.submit(done.set)
    assert done.wait(PATIENCE) and len(prepared) == 1
