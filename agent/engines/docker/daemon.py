"""The connection to the Docker daemon, made when it is first needed, and the daemon's failures as error codes.

A daemon that is down raises something else at every place, tells most of its failures as status 500, and says what went
wrong in prose alone (engine 20.10 to 28). So the prose is what `CAUSES` reads, the same for every step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException, InvalidConfigFile, NotFound

from agent.crash import advice
from agent.engines import EngineError

__all__ = ["APIError", "Daemon", "NotFound", "failure"]

_NO_GPU = (
    r"could not select device driver|nvidia-container|libnvidia|\bnvml\b|cdi device|unknown or invalid runtime name"
)

_GPU_CODES = frozenset({"GPU_UNAVAILABLE", "DRIVER_TOO_OLD"})

CAUSES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (code, re.compile(pattern, re.IGNORECASE))
    for code, pattern in (
        ("DISK_FULL", r"no space left on device|disk quota exceeded"),
        ("PORT_IN_USE", r"port is already allocated|address already in use"),
        ("ADDRESS_MISSING", r"cannot assign requested address"),
        ("INVALID_CONFIG", r"invalid reference format|invalid repository name"),
        ("DRIVER_TOO_OLD", r"unsatisfied condition: (?:cuda|driver)|please update your driver"),
        ("GPU_UNAVAILABLE", _NO_GPU),
        ("INVALID_CONFIG", r"executable file not found|exec: |no command specified|env file|invalid mount config"),
        ("IMAGE_IN_USE", r"image is being used by|image is referenced in|image has dependent child"),
        (
            "IMAGE_NOT_FOUND",
            r"no such image|manifest (?:for .* )?(?:not found|unknown)|pull access denied|name unknown",
        ),
        ("IMAGE_NOT_FOUND", r"no matching manifest|repository .* not found"),
        ("REGISTRY_UNAUTHORIZED", r"no basic auth credentials|unauthorized|authentication required|access .*denied"),
        (
            "REGISTRY_UNREACHABLE",
            r"connection refused|no such host|i/o timeout|tls handshake|x509|network is unreachable|connection reset"
            r"|no route to host|server misbehaving|awaiting headers|toomanyrequests|unexpected eof|\beof\b"
            r"|service unavailable|bad gateway|http response to https client|unexpected http status",
        ),
    )
)


class Daemon:
    """Whoever works with the daemon does so in `with daemon.asked(…) as api`, and gets EngineErrors alone."""

    def __init__(self, timeout: int) -> None:
        self._timeout = timeout
        self._lock = Lock()
        self._client: docker.DockerClient | None = None

    @contextmanager
    def asked(self, otherwise: str = "CONTAINER_FAILED") -> Iterator[docker.APIClient]:
        """The daemon's API (DOCKER_HOST and its like are honoured).

        Raises EngineError: DOCKER_UNAVAILABLE where nobody answers, a code of `CAUSES`, or `otherwise`. The same
        client works again when the daemon comes back.
        """
        try:
            yield self._connected().api
        except APIError as error:
            raise failure(error.explanation or str(error), otherwise) from error
        except (DockerException, requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise EngineError("DOCKER_UNAVAILABLE", f"the Docker daemon does not answer: {error}"[:1000]) from error

    def _connected(self) -> docker.DockerClient:
        with self._lock:
            if self._client is None:
                self._client = self._made()
            return self._client

    def _made(self) -> docker.DockerClient:
        try:
            return docker.from_env(timeout=self._timeout)
        except (InvalidConfigFile, AttributeError, TypeError, ValueError) as error:  # as a broken file has it
            advice = "the Docker config of the agent's user (~/.docker/config.json) is broken: mend or remove it"
            raise EngineError("DOCKER_UNAVAILABLE", advice) from error


def failure(prose: str, otherwise: str) -> EngineError:
    """Docker's own words, with the code that they amount to."""
    code = next((code for code, pattern in CAUSES if pattern.search(prose)), otherwise)
    told = f"{advice(prose)} Docker says: {prose.strip()}" if code in _GPU_CODES else prose.strip()
    return EngineError(code, told[:2000])
