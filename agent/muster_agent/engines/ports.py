"""Where models listen: whether a port is free, and the next one that is."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Collection

from muster_agent.engines.base import EngineError

FreePort = Callable[[int | None, str, Collection[int]], int]
"""The type of `free_port`."""

PORTS = range(20000, 30000)
"""Where a port is taken from when the deployment wants none in particular: below those that Linux gives out by itself
(32768 to 60999), or a connection of anybody's might hold it."""


def check_port(bind: str, port: int) -> None:
    """Raises EngineError PORT_IN_USE, or ADDRESS_MISSING where `bind` is no address of this host at the moment."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(bind, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # Connections of a dead predecessor may linger; they keep nobody from listening.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except socket.gaierror as error:
        raise EngineError("ADDRESS_MISSING", f"{bind}: not an address of this host: {error.strerror}") from error
    except OSError as error:
        taken = error.errno in (errno.EADDRINUSE, errno.EACCES)
        code = "PORT_IN_USE" if taken else "ADDRESS_MISSING"
        raise EngineError(code, f"port {port} on {bind}: {error.strerror}") from error


def free_port(wanted: int | None, bind: str, taken: Collection[int]) -> int:
    """`wanted`, or else the first of `PORTS` that is free and not in `taken`. Raises EngineError PORT_IN_USE."""
    if wanted is not None:
        if wanted in taken:
            raise EngineError("PORT_IN_USE", f"port {wanted} is another deployment's: choose another config.port")
        check_port(bind, wanted)
        return wanted
    for port in PORTS:
        if port not in taken and _is_free(bind, port):
            return port
    raise EngineError("PORT_IN_USE", f"no free port from {PORTS[0]} to {PORTS[-1]} on {bind}")


def _is_free(bind: str, port: int) -> bool:
    try:
        check_port(bind, port)
    except EngineError as error:
        if error.error_code != "PORT_IN_USE":
            raise
        return False
    return True
