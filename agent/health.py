"""Whether a model is ready: vLLM says that it is healthy, and lists the model. That its instance runs is not enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec
import requests
from msgspec import Struct

from agent.api import Bearer, read_limited

TIMEOUT = (2.0, 5.0)
MAX_LIST = 1024 * 1024
STALLED_AFTER = 30 * 60.0
LOOK_EVERY = 60.0


class Probe(Protocol):
    def __call__(self, bind: str, port: int, model: str, api_key: str | None) -> bool: ...


class _Model(Struct):
    id: str


class _Models(Struct):
    data: list[_Model]


def is_ready(bind: str, port: int, model: str, api_key: str | None) -> bool:
    """Ask the server at `bind`:`port`. Any failure means not ready: a published port resets before anything listens."""
    host = f"[{bind}]" if ":" in bind else bind
    with requests.Session() as session:
        # A proxy of the host's environment is not the way to its own loopback.
        session.trust_env = False
        try:
            with session.get(f"http://{host}:{port}/health", timeout=TIMEOUT, stream=True) as answer:
                if answer.status_code != 200:
                    return False
            with session.get(
                f"http://{host}:{port}/v1/models", auth=Bearer(api_key), timeout=TIMEOUT, stream=True
            ) as answer:
                if answer.status_code != 200:
                    return False
                models = msgspec.json.decode(read_limited(answer, MAX_LIST), type=_Models)
        except (requests.RequestException, OSError, msgspec.DecodeError, RecursionError):
            return False
    return any(each.id == model for each in models.data)


class Patience:
    """Notices a start that has nothing more to say: no new line in its log for half an hour.

    Loading may take hours on a slow disk, and says so line by line; a hung one is silent.
    """

    def __init__(self, now: float) -> None:
        self._changed = now
        self._looked = now
        self._seen = ""

    def exhausted(self, now: float, tail: Callable[[], str]) -> bool:
        if now - self._looked < LOOK_EVERY:
            return False
        self._looked = now
        seen = tail()
        if seen != self._seen:
            self._seen, self._changed = seen, now
        return now - self._changed >= STALLED_AFTER
