"""SIGTERM and SIGINT end a wait, and the second of them the process, whatever the parent did with signals."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.fixtures.signals import with_default_signals, with_interrupts_ignored
from tests.fixtures.waiting import deadline

WAITS = """
import select
import sys
from muster_agent.signals import Signals
signals = Signals()
print(signals.wait(0), flush=True)
print(signals.wait(3600), signals.wait(3600), flush=True)
while not select.select([sys.stdin], [], [], 0.01)[0]:
    pass  # a signal that comes right before a wait does not end that one
"""


@contextmanager
def waiting(before: Callable[[], None]) -> Iterator[subprocess.Popen[str]]:
    """A process that waits for a signal, with `before` called in it first; then for its standard input to end."""
    with subprocess.Popen(
        [sys.executable, "-c", WAITS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=before
    ) as process:
        try:
            with deadline(process):
                yield process
        finally:
            process.kill()


@pytest.mark.parametrize("before", [with_default_signals, with_interrupts_ignored])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_ends_every_wait_and_the_second_the_process(
    number: signal.Signals, before: Callable[[], None]
) -> None:
    with waiting(before) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "False\n", "without a signal the wait is over in its time"
        process.send_signal(number)
        assert process.stdout.readline() == "True True\n"
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait() == 128 + number
