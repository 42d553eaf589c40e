"""A network of its own for each process of a parallel run: nobody else's ports, and nothing of what Docker does to the
host's, at which a browser gives up on its pages. Linux lets root have one (network_namespaces(7))."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP = 1


@cache
def can_be_had() -> bool:
    """Whether this process may have a network of its own."""
    try:
        return subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


class Networks:
    """Of the main thread, and of what it starts. Others keep the one that they began in."""

    def __init__(self) -> None:
        self._host = self._own = -1
        self._is_in_its_own = False

    def enter(self, own: bool) -> None:
        """Its own, made when it is first wanted, or the host's."""
        if own == self._is_in_its_own:
            return
        if not own:
            _call("setns", self._host, CLONE_NEWNET)
        elif self._own >= 0:
            _call("setns", self._own, CLONE_NEWNET)
        else:
            self._host = _this_network()
            _call("unshare", CLONE_NEWNET)
            _bring_up_the_loopback()
            self._own = _this_network()
        self._is_in_its_own = own

    @contextmanager
    def outside(self) -> Iterator[None]:
        """For what has to be fetched."""
        before = self._is_in_its_own
        self.enter(own=False)
        try:
            yield
        finally:
            self.enter(own=before)


def _this_network() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _call(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def _bring_up_the_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))


NETWORKS = Networks()
