"""Requests that wait for a model which is starting, so that callers need no retries of their own.

How many wait is bounded, by model, by key, and in bytes: a request that finds no place is answered at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from muster.api.gateways import StartingModel
from muster.gateway.openai_errors import OpenAIError

MOST_PER_MODEL = 256
MOST_PER_KEY = 64
MOST_BYTES = 64 * 1024 * 1024
COMMENT_AFTER_SECONDS = 10.0
"""When a streaming caller gets a first line, so that no proxy on the way gives the connection up."""
RETRY_AFTER_SECONDS = 10.0


class Holding:
    """Counts the requests that wait."""

    def __init__(self) -> None:
        self._by_model: Counter[str] = Counter()
        self._by_key: Counter[str] = Counter()
        self._bytes = 0

    @contextmanager
    def place(self, model: str, key_id: str, size: int) -> Iterator[None]:
        """A place for a request of `size` bytes. Raises OpenAIError where there is none."""
        if (
            self._by_model[model] >= MOST_PER_MODEL
            or self._by_key[key_id] >= MOST_PER_KEY
            or self._bytes + size > MOST_BYTES
        ):
            message = f"too many requests wait for the model {model!r}; repeat the request later"
            raise OpenAIError(503, "queue_full", message, retry_after=RETRY_AFTER_SECONDS)
        self._by_model[model] += 1
        self._by_key[key_id] += 1
        self._bytes += size
        try:
            yield
        finally:
            self._by_model -= Counter([model])
            self._by_key -= Counter([key_id])
            self._bytes -= size


def not_ready(model: str, starting: Sequence[StartingModel], waited: float, now: float) -> OpenAIError:
    """The model is still on its way, or its worker is not connected. `now`: epoch seconds."""
    if not starting:
        message = f"the model {model!r} runs, and no worker that serves it is connected to this gateway at the moment"
        return OpenAIError(503, "no_worker_connected", message, retry_after=RETRY_AFTER_SECONDS)
    nearest = max(starting, key=lambda each: each.percent or 0.0)
    eta = _eta(nearest, now)
    progress = f", {nearest.percent:.0f} %" if nearest.percent is not None else ""
    left = f", about {eta:.0f} s left" if eta is not None else ""
    message = f"the model {model!r} is starting: {nearest.status}{progress}{left}; it was waited for {waited:.0f} s"
    details: dict[str, object] = {"state": nearest.status, "state_message": nearest.message}
    details |= {"progress": nearest.percent, "eta": eta}
    retry_after = min(max(eta or RETRY_AFTER_SECONDS, 1.0), 120.0)
    return OpenAIError(503, "model_starting", message, retry_after=retry_after, details=details)


def _eta(starting: StartingModel, now: float) -> float | None:
    """Seconds that are left, if the rest takes as long as what is done; None while little is known."""
    if starting.percent is None or starting.percent < 1 or starting.since is None:
        return None
    passed = max(0.0, now - starting.since)
    return round(passed * (100 - starting.percent) / starting.percent, 1)
