"""The control plane as a gateway sees it: four requests, and one place that decides what a failure means.

| failure | meaning |
|---|---|
| `Refused` | the control plane's own 401 or 403: the key is unknown, revoked, or of another role |
| `Rejected` | the control plane's own 4xx about this one request: to repeat it is useless |
| `Failed` | anything else: no connection, a proxy's page, 429, 5xx, or an answer that is not the control plane's |
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec
import requests

from muster.api.connection import answered_by_something_else, cause
from muster.api.gateways import (
    GatewayRegistered,
    GatewayRegistration,
    Routes,
    TicketKey,
    UsageReport,
)
from muster.api.resources import ErrorBody
from muster.api.version import VERSION
from muster.http import Bearer, TooLong, new_session, read_limited
from muster.sanitize import escape_control_characters

T = TypeVar("T")

REQUEST_TIMEOUT_SECONDS = (5.0, 30.0)
"""Seconds to connect, and between two bytes of the answer."""
MAX_ROUTES_BYTES = 32 * 1024 * 1024
MAX_ANSWER_BYTES = 64 * 1024
MAX_MESSAGE_CHARACTERS = 500
MAX_ETAG_LENGTH = 256
MAX_ID_LENGTH = 128
MAX_TICKET_KEYS = 8
LEAST_TICKET_KEY_BYTES = 16
MAX_TICKET_KEY_BYTES = 128
POLL_SECONDS = (0.5, 60.0)
RENEW_SECONDS = (5.0, 120.0)
"""Between these bounds the control plane decides: beyond them the gateway would flood it, or leave its list."""
TRANSIENT_STATUSES = frozenset({408, 425, 429})


class Failed(Exception):
    """No answer of the control plane came; it may come later. `after`: seconds that the other side asked for."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class Rejected(Exception):
    """The control plane does not take this request."""


class Refused(Exception):
    """The control plane does not take this gateway's key. `error_code` is UNAUTHENTICATED or FORBIDDEN."""

    def __init__(self, error_code: str, message: str) -> None:
        super().__init__(message)
        self.error_code = error_code


@dataclass(frozen=True)
class Registration:
    """What a registration gave. `ticket_keys` are by version; `renew_in` is seconds within RENEW_SECONDS."""

    gateway_id: str
    ticket_keys: Mapping[int, bytes]
    renew_in: float


@dataclass(frozen=True)
class Polled:
    """`routes` is None if they are those of the last poll. `poll` is seconds within POLL_SECONDS."""

    routes: Routes | None
    poll: float
    etag: str | None


class PlaneClient:
    """For one thread at a time. Each method raises Refused, Rejected, or Failed.

    `timeout`: seconds to connect, and between two bytes of an answer.
    """

    def __init__(
        self,
        url: str,
        key: str,
        session: requests.Session | None = None,
        timeout: tuple[float, float] = REQUEST_TIMEOUT_SECONDS,
    ) -> None:
        self._url = url.rstrip("/")
        self._auth = Bearer(key)
        self._session = session or new_session(os.environ)
        self._timeout = timeout

    def register(self, url: str, selector: str | None) -> Registration:
        """Register the gateway's public URL, or renew it; workers with the selector's labels dial it."""
        response, content = self._ask("POST", "/api/gateways", GatewayRegistration(url, VERSION, selector))
        return _registration(self._decoded(response, content, GatewayRegistered))

    def goodbye(self, gateway_id: str) -> None:
        """Take the gateway off the list. One that is not on it is no error."""
        with suppress(Rejected):
            self._ask("DELETE", f"/api/gateways/{quote(gateway_id, safe='')}")

    def routes(self, selector: str | None, etag: str | None, poll: float, *, fresh: bool = False) -> Polled:
        """The routes, if they are others than those with that `etag`. `poll`: what the last answer had.

        `fresh`: as of now, where the control plane would answer what it read a few seconds ago.
        """
        asked = {name: value for name, value in (("selector", selector), ("fresh", "true" if fresh else None)) if value}
        query = f"?{urlencode(asked)}" if asked else ""
        headers = {"If-None-Match": etag} if etag else {}
        response, content = self._ask("GET", f"/api/gateway/routes{query}", headers=headers, limit=MAX_ROUTES_BYTES)
        if response.status_code == 304:
            if etag is None:
                raise Failed(f"{self._url} answers 304 to a question without an ETag")
            return Polled(None, poll, etag)
        routes = self._decoded(response, content, Routes)
        return Polled(routes, _between(routes.poll, POLL_SECONDS), _etag(response.headers.get("ETag")))

    def report(self, usage: UsageReport) -> None:
        self._ask("POST", "/api/gateway/usage", usage)

    def close(self) -> None:
        self._session.close()

    def _ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        limit: int = MAX_ANSWER_BYTES,
    ) -> tuple[requests.Response, bytes]:
        given = {"User-Agent": f"muster-gateway/{VERSION}", "Accept": "application/json", **(headers or {})}
        if body is not None:
            given["Content-Type"] = "application/json"
        try:
            with self._session.request(
                method,
                self._url + path,
                data=None if body is None else msgspec.json.encode(body),
                headers=given,
                auth=self._auth,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            ) as response:
                content = read_limited(response, limit)
        except TooLong as error:
            raise Failed(f"{self._url} gives {error}") from error
        except (requests.RequestException, OSError) as error:
            raise Failed(f"cannot reach {self._url}: {cause(error, self._url, os.environ)}") from error
        status = response.status_code
        if 200 <= status < 300 or status == 304:
            return response, content
        if 300 <= status < 400:
            raise Failed(f"{self._url} redirects elsewhere ({status}); give the URL that it redirects to")
        raise self._failure(status, content, response.headers.get("Retry-After"))

    def _failure(self, status: int, content: bytes, retry_after: str | None) -> Failed | Rejected | Refused:
        """A body that is not the API's was written by something in between, and decides nothing."""
        after = float(retry_after) if retry_after and re.fullmatch(r"[0-9]{1,4}", retry_after) else None
        try:
            error = msgspec.json.decode(content, type=ErrorBody)
        except (msgspec.DecodeError, RecursionError):
            known = answered_by_something_else(status, content)
            advice = f": {known}" if known else "; check the URL and what is in between"
            return Failed(f"{self._url} answers {status}, but not as a control plane{advice}", after)
        message = escape_control_characters(f"{status} {error.error_code}: {error.message}")[:MAX_MESSAGE_CHARACTERS]
        if (status, error.error_code) in ((401, "UNAUTHENTICATED"), (403, "FORBIDDEN")):
            return Refused(error.error_code, message)
        if status >= 500 or status in TRANSIENT_STATUSES or status in (401, 403):
            return Failed(message, after)
        return Rejected(message)

    def _decoded(self, response: requests.Response, content: bytes, shape: type[T]) -> T:
        try:
            return msgspec.json.decode(content, type=shape)
        except (msgspec.DecodeError, RecursionError) as error:
            reason = escape_control_characters(str(error))[:MAX_MESSAGE_CHARACTERS]
            message = f"{self._url} answers {response.status_code} with a body that is not a control plane's: {reason}"
            raise Failed(message) from error


def _registration(registered: GatewayRegistered) -> Registration:
    """Raises Failed for keys with which anybody could make tickets, and for an id that cannot be one."""
    if not 0 < len(registered.gateway_id) <= MAX_ID_LENGTH:
        raise Failed("the control plane registers this gateway under an id that cannot be one")
    if len(registered.ticket_keys) > MAX_TICKET_KEYS:
        raise Failed(f"the control plane gives more than {MAX_TICKET_KEYS} ticket keys")
    if not all(_is_good(key) for key in registered.ticket_keys):
        raise Failed("the control plane gives a ticket key that is too short or too long")
    keys = {key.version: key.key for key in registered.ticket_keys}
    return Registration(registered.gateway_id, keys, _between(registered.renew_in, RENEW_SECONDS))


def _is_good(key: TicketKey) -> bool:
    return LEAST_TICKET_KEY_BYTES <= len(key.key) <= MAX_TICKET_KEY_BYTES


def _between(seconds: float, bounds: tuple[float, float]) -> float:
    """Within the bounds; what is no number at all counts as the longest."""
    least, most = bounds
    return max(least, seconds) if seconds < most else most


def _etag(text: str | None) -> str | None:
    """None for one that this client would not send back."""
    return text if text and len(text) <= MAX_ETAG_LENGTH and text.isascii() and text.isprintable() else None
