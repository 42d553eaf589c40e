"""Docker's API client for an agent that runs for months: it follows an engine that is upgraded meanwhile."""

from __future__ import annotations

import logging
import re
from typing import Any

import docker
from docker.constants import DEFAULT_DOCKER_API_VERSION
from docker.utils import kwargs_from_env, version_lt
from requests import Response

log = logging.getLogger(__name__)

KNOWN_VERSION = DEFAULT_DOCKER_API_VERSION
"""The newest version of the API that the library knows; a newer engine is asked in this version."""

_WRONG_VERSION = re.compile(rb"client version [\d.]+ is too (?:old|new)")


class Client(docker.APIClient):
    """Negotiates the API's version when it connects, and again when the engine refuses that version.

    An engine that was upgraded or downgraded refuses a request before it does anything, so the request is sent once
    more. `timeout` is in seconds and limits every read, also of logs, for which the library would remove it. Raises
    DockerException if the engine does not answer.
    """

    _version = ""

    def __init__(self, timeout: int) -> None:
        super().__init__(version="auto", timeout=timeout, **kwargs_from_env())

    def request(self, method: str | bytes, url: str | bytes, *arguments: Any, **options: Any) -> Response:
        response = super().request(method, url, *arguments, **options)
        asked = f"{self.base_url}/v{self._version}/"
        if response.status_code != 400 or not str(url).startswith(asked) or not _WRONG_VERSION.search(response.content):
            return response
        self._version = self._retrieve_server_version()
        log.info("the Docker engine was changed: it is asked in version %s of its API from now on", self._version)
        return super().request(
            method, f"{self.base_url}/v{self._version}/{str(url).removeprefix(asked)}", *arguments, **options
        )

    def _retrieve_server_version(self) -> str:
        """The newest version that both know."""
        about = self.version(api_version=False)
        newest = str(about["ApiVersion"])
        oldest = str(about.get("MinAPIVersion") or newest)
        known = oldest if version_lt(KNOWN_VERSION, oldest) else KNOWN_VERSION
        return newest if version_lt(newest, known) else known

    def _disable_socket_timeout(self, socket: Any) -> None:
        """Keep it: a daemon that hangs in the middle of a log must not hold up its reader for good."""
