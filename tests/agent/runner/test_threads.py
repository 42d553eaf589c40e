"""Threads of the agent."""

from __future__ import annotations

from queue import SimpleQueue
from threading import Thread, current_thread

from muster_agent.runner.threads import spawn_thread


def test_a_thread_has_its_name_and_does_not_keep_the_agent_from_ending() -> None:
    found: SimpleQueue[Thread] = SimpleQueue()
    spawn_thread("reporter", lambda: found.put(current_thread()))
    thread = found.get(timeout=60)
    assert (thread.name, thread.daemon) == ("reporter", True)
