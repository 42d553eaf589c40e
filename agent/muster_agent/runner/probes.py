"""Whether a model is ready, and whether it still is. That its instance runs is not enough: vLLM says that it is
healthy, and lists the model."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

import msgspec
import requests
from msgspec import Struct

from muster.http import Bearer, read_limited

PROBE_TIMEOUT_SECONDS = (2.0, 5.0)
MAX_MODEL_LIST_BYTES = 1024 * 1024
ALIVE_PROBE_EVERY_SECONDS = 10.0
HUNG_AFTER_SECONDS = 30.0

_HEALTHY = b"HTTP/1.1 200"


class Probe(Protocol):
    def is_ready(self, bind: str, port: int, model: str, api_key: str | None) -> bool:
        """Whether a model that comes up is there."""

    def is_alive(self, bind: str, port: int) -> bool:
        """Whether one that was there still answers."""


class _Model(Struct):
    id: str


class _Models(Struct):
    data: list[_Model]


class HttpProbe:
    """Asks the model's own server. Any failure means no: a published port resets before anything listens."""

    def is_ready(self, bind: str, port: int, model: str, api_key: str | None) -> bool:
        with requests.Session() as session:
            # A proxy of the host's environment is not the way to its own loopback.
            session.trust_env = False
            url = f"http://{_host(bind)}:{port}"
            try:
                with session.get(f"{url}/health", timeout=PROBE_TIMEOUT_SECONDS, stream=True) as answer:
                    if answer.status_code != 200:
                        return False
                with session.get(
                    f"{url}/v1/models", auth=Bearer(api_key), timeout=PROBE_TIMEOUT_SECONDS, stream=True
                ) as answer:
                    if answer.status_code != 200:
                        return False
                    models = msgspec.json.decode(read_limited(answer, MAX_MODEL_LIST_BYTES), type=_Models)
            except (requests.RequestException, OSError, msgspec.DecodeError, RecursionError):
                return False
        return any(listed.id == model for listed in models.data)

    def is_alive(self, bind: str, port: int) -> bool:
        """/health alone, and of its answer the status alone: this is asked for as long as the model runs."""
        request = f"GET /health HTTP/1.1\r\nHost: {_host(bind)}\r\nConnection: close\r\n\r\n"
        try:
            with socket.create_connection((bind, port), timeout=PROBE_TIMEOUT_SECONDS[1]) as connection:
                connection.sendall(request.encode())
                return connection.recv(len(_HEALTHY)).endswith(b" 200")
        except OSError:
            return False


class Pulse:
    """Notices a running model that answers no more. One that is busy may miss a beat, and is not killed for that."""

    def __init__(self) -> None:
        self._asked_at = float("-inf")
        self._silent_since: float | None = None

    def has_stopped(self, now: float, is_alive: Callable[[], bool]) -> bool:
        """Probe when the next probe is due. True when every probe of the last HUNG_AFTER_SECONDS failed.

        The time of a long gap between probes (an engine that hangs, a host that sleeps) does not count as silence.
        """
        if now - self._asked_at < ALIVE_PROBE_EVERY_SECONDS:
            return False
        if now - self._asked_at > HUNG_AFTER_SECONDS:
            self._silent_since = None
        self._asked_at = now
        if is_alive():
            self._silent_since = None
            return False
        self._silent_since = now if self._silent_since is None else self._silent_since
        return now - self._silent_since >= HUNG_AFTER_SECONDS


def _host(bind: str) -> str:
    return f"[{bind}]" if ":" in bind else bind
