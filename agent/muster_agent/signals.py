"""SIGTERM and SIGINT: the first asks the agent to end, the second ends it at once."""

from __future__ import annotations

import os
import select
import signal
import socket
from types import FrameType


class Signals:
    """A wait that a signal ends. Made in the main thread.

    An Event set from a handler could find its own lock held by the very wait that it interrupts; a byte in a socket
    pair, written by the interpreter, cannot.
    """

    def __init__(self) -> None:
        self._awake, waker = socket.socketpair()
        self._waker = waker
        for end in (self._awake, waker):
            end.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)
        self.stopping = False

    def wait(self, seconds: float) -> bool:
        """Whether the agent is to end, after at most that long."""
        if not self.stopping:
            readable, _, _ = select.select([self._awake], [], [], seconds)
            if readable:
                self._awake.recv(64)
        return self.stopping

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.stopping:
            os._exit(128 + number)
        self.stopping = True
