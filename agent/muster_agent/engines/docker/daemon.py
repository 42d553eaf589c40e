"""The connection to the Docker daemon, made when it is first needed, and the daemon's failures as error codes.

A daemon that is down raises something else at every place, tells most of its failures as status 500, and says what went
wrong in prose alone (engine 20.10 to 29). So the prose is read (muster.diagnostics), the same for every step.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import docker
import requests
import urllib3
from docker.constants import DEFAULT_UNIX_SOCKET
from docker.errors import APIError, DockerException, InvalidConfigFile, NotFound

from muster.api.connection import wrapped
from muster.diagnostics.docker import MOST_CHARACTERS, read
from muster.diagnostics.rules import UNNAMED_REGISTRY
from muster_agent.engines.base import EngineError
from muster_agent.engines.docker.docker_client import Client

__all__ = ["APIError", "Daemon", "NotFound", "failure"]


class Daemon:
    """Access to the daemon: `with daemon.asked(…) as api` turns every failure into an EngineError.

    `timeout` is what the daemon may take for one answer, in seconds.
    """

    def __init__(self, timeout: int) -> None:
        self._timeout = timeout
        self._lock = Lock()
        self._client: Client | None = None

    @contextmanager
    def asked(
        self, otherwise: str = "CONTAINER_FAILED", registry: str = UNNAMED_REGISTRY
    ) -> Iterator[docker.APIClient]:
        """The daemon's API (DOCKER_HOST and its like are honored).

        Raises EngineError: DOCKER_UNAVAILABLE where nobody answers, a code of the diagnostics, or `otherwise`. The same
        client works again when the daemon comes back, also as another version.
        """
        try:
            yield self._connected()
        except APIError as error:
            raise failure(error.explanation or str(error), otherwise, registry) from error
        except (DockerException, requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise EngineError("DOCKER_UNAVAILABLE", unreachable(error, self._timeout)) from error

    def _connected(self) -> Client:
        with self._lock:
            if self._client is None:
                self._client = self._made()
            return self._client

    def _made(self) -> Client:
        try:
            return Client(self._timeout)
        except KeyError as error:  # something answers that is no Docker engine
            raise EngineError("DOCKER_UNAVAILABLE", f"{_address()} does not answer as a Docker engine does") from error
        except (InvalidConfigFile, AttributeError, TypeError, ValueError) as error:  # as a broken file has it
            advice = "the Docker config of the agent's user (~/.docker/config.json) is broken: mend or remove it"
            raise EngineError("DOCKER_UNAVAILABLE", advice) from error


def unreachable(error: BaseException, timeout: float) -> str:
    """Returns why the daemon does not answer and what to do: the same text for each request that has the same cause."""
    address = _address()
    causes = list(wrapped(error))
    if any(isinstance(cause, FileNotFoundError) for cause in causes):
        advice = "start the daemon (`systemctl start docker`), or install it"
        return f"the Docker daemon does not answer: there is no socket {address}: {advice}"
    if any(isinstance(cause, PermissionError) for cause in causes):
        advice = "run the agent as root, or add its user to the group docker"
        return f"the Docker daemon does not answer: permission denied at {address}: {advice}"
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        advice = "start the daemon (`systemctl start docker`), and see `journalctl -u docker` where it does not stay up"
        return f"the Docker daemon does not answer: nothing listens at {address}: {advice}"
    if any(
        isinstance(cause, TimeoutError | requests.Timeout | urllib3.exceptions.ReadTimeoutError) for cause in causes
    ):
        advice = "it hangs, or the host is overloaded: try `docker ps` there, and `systemctl restart docker`"
        return f"the Docker daemon at {address} does not answer within {timeout:.0f} s: {advice}"
    message = f"the Docker daemon at {address} does not answer: {_words(causes)}: see `systemctl status docker` there"
    return message[:MOST_CHARACTERS]


def _address() -> str:
    return os.environ.get("DOCKER_HOST") or DEFAULT_UNIX_SOCKET.replace("http+unix://", "unix://")


def _words(causes: list[BaseException]) -> str:
    """The operating system's message if there is one, else the error's, without addresses in memory, which change."""
    system = next((cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror), None)
    return system or re.sub(r"<[^<>]* at 0x[0-9a-f]+>", "connection", str(causes[0]))


def failure(prose: str, otherwise: str, registry: str = UNNAMED_REGISTRY, *, begun: bool = True) -> EngineError:
    """Docker's own words, with their code and what to do; `registry` and `begun` are those of `read`."""
    found = read(prose, otherwise, registry, begun=begun)
    return EngineError(found.error_code, found.message, found.fix, permanent=found.permanent)
