"""A deadline for whoever reads what a process says: a test that waits for ever tells nobody why."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


@contextmanager
def deadline(process: subprocess.Popen[Any], seconds: float = 60.0) -> Iterator[None]:
    """Within this, reading comes to an end: after that long the process is killed, and AssertionError is raised."""
    late = threading.Event()

    def end() -> None:
        late.set()
        with suppress(ProcessLookupError):
            leads = os.getpgid(process.pid) == process.pid
            os.killpg(process.pid, signal.SIGKILL) if leads else process.kill()

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        assert not late.is_set(), f"{process.args!r} was waited for in vain for {seconds:.0f} s"
