"""The control plane as the agent sees it: five requests, and one place that says whether a failure is worth a retry."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import msgspec
import requests
from msgspec import Raw, Struct
from urllib3.exceptions import ProtocolError
from urllib3.util import SKIP_HEADER

from muster.api.connection import answered_by_something_else, cause
from muster.api.messages import (
    MAX_CODE,
    Gateways,
    Heartbeat,
    Registered,
    Registration,
    ShortHeartbeat,
    ShortHeartbeatAnswer,
    brief,
)
from muster.api.resources import ErrorBody
from muster.http import Bearer, new_session, read_limited
from muster_agent.control.clock_check import ahead

T = TypeVar("T")

REQUEST_TIMEOUT_SECONDS = (5.0, 30.0)
"""Seconds to connect, and between two bytes of the answer."""
MAX_ANSWER_BYTES = 16 * 1024 * 1024
MAX_MESSAGE_CHARACTERS = 1000
"""Characters of what the control plane says of a request that go into a log."""
HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": "muster-agent",
    "Accept": None,
    "Accept-Encoding": SKIP_HEADER,
    "Connection": None,
}
"""Of each request. What requests adds by itself would be a tenth of a heartbeat."""
TRANSIENT_STATUSES = frozenset({408, 425, 429})


class Retry(Exception):
    """It may work later. `after` is what the other side asked for, in seconds.

    `status` is the HTTP status that came back, None without one; `foreign` means that something between this agent and
    the control plane gave it. `connected` is False where not even a connection could be made.
    """

    def __init__(
        self,
        message: str,
        after: float | None = None,
        *,
        status: int | None = None,
        foreign: bool = False,
        connected: bool = True,
    ) -> None:
        super().__init__(message)
        self.after = after
        self.status = status
        self.foreign = foreign
        self.connected = connected


class Fatal(Exception):
    """The control plane's own no: the same request will not be taken later either."""

    def __init__(self, status: int, error_code: str, message: str) -> None:
        super().__init__(f"{status} {brief(error_code, MAX_CODE)}: {brief(message, MAX_MESSAGE_CHARACTERS)}")
        self.status = status
        self.error_code = error_code

    @property
    def unauthorized(self) -> bool:
        """The credential is not good any more; registering again gets a new one."""
        return self.status == 401 or self.error_code == "WORKER_NOT_FOUND"

    @property
    def superseded(self) -> bool:
        """Another agent is this worker now, or nobody shall be."""
        return self.status == 410 or self.error_code == "SESSION_SUPERSEDED"


class Answer(Struct):
    """HeartbeatAnswer with its commands still undecoded, so that one that is unknown here does not cost the others."""

    commands: list[Raw]
    inbox: int
    next_heartbeat_in: float
    digest: str | None = None
    gateways: Gateways | None = None


def failure(status: int, body: bytes, retry_after: str | None = None) -> Retry | Fatal:
    """What an answer other than success means.

    An undecodable body was not written by the control plane, but by a proxy on the way that may mend itself. A conflict
    with `Retry-After` ends with time: another client is this worker, and is online.
    """
    after = float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else None
    error = _decode(body, ErrorBody)
    known = answered_by_something_else(status, body)
    between = f"{status} from something in between" + (f": {known}" if known else "")
    message = str(Fatal(status, error.error_code, error.message)) if error else between
    if error is None or status in TRANSIENT_STATUSES or status >= 500 or (status == 409 and after is not None):
        return Retry(message, after, status=status, foreign=error is None)
    return Fatal(status, error.error_code, error.message)


class Api:
    """One per thread. Every method raises Retry or Fatal.

    `clock` is epoch seconds; `clock_ahead` is by how many it is ahead of the control plane's, by its last response, and
    None where that has no date.
    """

    def __init__(
        self, url: str, session: requests.Session | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._url = url.rstrip("/")
        self._session = session or new_session(os.environ)
        self._clock = clock
        self.clock_ahead: float | None = None

    def register(self, body: Registration, token: str | None) -> Registered:
        """`token` is the one that an earlier registration gave."""
        return self._post("/api/workers/register", _sparse(body), token, Registered)

    def heartbeat(
        self, worker_id: str, token: str, body: Heartbeat, timeout: tuple[float, float] = REQUEST_TIMEOUT_SECONDS
    ) -> Answer:
        return self._post(f"{_worker(worker_id)}/heartbeat", _sparse(body), token, Answer, timeout)

    def short_heartbeat(
        self, worker_id: str, token: str, body: ShortHeartbeat, timeout: tuple[float, float] = REQUEST_TIMEOUT_SECONDS
    ) -> ShortHeartbeatAnswer:
        return self._post(f"{_worker(worker_id)}/heartbeat", body, token, ShortHeartbeatAnswer, timeout)

    def gateways(self, worker_id: str, token: str) -> Gateways:
        """The worker's gateways, with new tickets."""
        return self._post(f"{_worker(worker_id)}/gateways", {}, token, Gateways)

    def tell(
        self, worker_id: str, token: str, kind: Literal["status", "result"], about: str, body: dict[str, Any]
    ) -> None:
        """Send a deployment's status or an operation's result; `about` is the id of either."""
        collection = "deployments" if kind == "status" else "commands"
        self._post(f"{_worker(worker_id)}/{collection}/{quote(about, safe='')}/{kind}", body, token, dict)

    def _post(
        self,
        path: str,
        body: Any,
        token: str | None,
        answer: type[T],
        timeout: tuple[float, float] = REQUEST_TIMEOUT_SECONDS,
    ) -> T:
        sent = self._clock()
        try:
            with self._session.post(
                self._url + path,
                data=msgspec.json.encode(body),
                headers=HEADERS,
                auth=Bearer(token),
                timeout=timeout,
                allow_redirects=False,
                stream=True,
            ) as response:
                received = self._clock()
                content = read_limited(response, MAX_ANSWER_BYTES)
        except (requests.RequestException, OSError) as error:
            why = cause(error, self._url, os.environ)
            raise Retry(f"cannot reach {self._url}: {why}", connected=_was_connected(error)) from error
        if 300 <= response.status_code < 400:
            message = f"{response.status_code}: {self._url} redirects elsewhere; give the URL that it redirects to"
            raise Retry(message, status=response.status_code, foreign=True)
        if not response.ok:
            raise failure(response.status_code, content, response.headers.get("Retry-After"))
        decoded = _decode(content, answer)
        if decoded is None:
            message = f"{response.status_code} with a body that is not the control plane's"
            raise Retry(message, status=response.status_code, foreign=True)
        self.clock_ahead = ahead(response.headers.get("Date"), sent, received)
        return decoded


def _was_connected(error: Exception) -> bool:
    """Whether a connection was made before `error` ended the exchange: then the cause may be this one request."""
    if isinstance(error, requests.exceptions.ChunkedEncodingError | requests.exceptions.ContentDecodingError):
        return True
    if isinstance(error, requests.ReadTimeout):
        return True
    # "Connection aborted": a reset or an end while the request was sent, or before its response.
    return isinstance(error, requests.ConnectionError) and any(
        isinstance(argument, ProtocolError) for argument in error.args
    )


def _decode(content: bytes, shape: type[T]) -> T | None:
    try:
        return msgspec.json.decode(content, type=shape)
    except (msgspec.DecodeError, RecursionError):
        return None


def _sparse(body: Struct) -> dict[str, Any]:
    """Without the fields that are not given: absent and null are not the same to every server."""
    return {name: value for name, value in msgspec.to_builtins(body).items() if value is not None}


def _worker(worker_id: str) -> str:
    return f"/api/workers/{quote(worker_id, safe='')}"
