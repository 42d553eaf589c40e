"""Requests to a control plane: the endpoint of a name, its types, and which requests are repeated.

GET is repeated freely, POST under its Idempotency-Key. PATCH and DELETE are repeated only if no connection was made:
after a lost answer, the caller has to check whether the change was made.
"""

from __future__ import annotations

import http.client
import os
import re
import uuid
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from muster.api.connection import answered_by_something_else, cause
from muster.api.endpoints import BY_NAME
from muster.api.resources import Accepted, ErrorBody
from muster.direct import REPEATED_METHODS, Answer, Direct, NotAnswered, NotConnected, Request, direct
from muster.exceptions import Invalid, MusterError, Unreachable, error

if TYPE_CHECKING:
    import requests

    from muster.session import SessionConnection

T = TypeVar("T")

TIMEOUT_SECONDS = (5.0, 35.0)
"""Seconds to connect, and between two bytes of the answer: routes wait for a worker for up to 25."""


class Transport:
    """One per thread. Every method raises MusterError."""

    def __init__(self, url: str, api_key: str, session: requests.Session | None, timeout: tuple[float, float]) -> None:
        self.url = url.rstrip("/")
        self._api_key = api_key
        self._given = session
        self._timeout = timeout
        self._direct: Direct | None = None if session else direct(self.url, api_key, timeout, os.environ)

    def call(self, name: str, answer: type[T], *, key: str | None = None, **given: Any) -> T:
        """Return the answer of the endpoint `name`. `given`: `body`, `query`, and the path's parameters by name."""
        _, content = self._send(name, given, key)
        return _decode(content, answer)

    def ask(self, name: str, answer: type[T], *, key: str | None = None, **given: Any) -> T | Accepted:
        """Return the answer of a route that may also answer 202."""
        status, content = self._send(name, given, key)
        return _decode(content, Accepted) if status == 202 else _decode(content, answer)

    def text(self, name: str) -> str:
        """Return the answer of an endpoint that does not answer with JSON."""
        return self._send(name, {}, None)[1].decode(errors="replace")

    def close(self) -> None:
        if self._direct is not None:
            self._direct.close()
        if "_session" in self.__dict__:
            self._session.close()

    @cached_property
    def _session(self) -> SessionConnection:
        from muster.session import SessionConnection

        return SessionConnection(self.url, self._api_key, self._timeout, self._given)

    def _send(self, name: str, given: dict[str, Any], key: str | None) -> tuple[int, bytes]:
        endpoint = BY_NAME[name]
        body, query = given.pop("body", None), given.pop("query", None)
        path = re.sub(r"{(\w+)}", lambda found: _segment(given[found[1]]), endpoint.path)
        headers = {"Accept": endpoint.media, "User-Agent": "muster"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if endpoint.method == "POST":
            headers["Idempotency-Key"] = key or uuid.uuid4().hex
        content = msgspec.json.encode(body) if body is not None else None
        try:
            answer = self._exchange(Request(endpoint.method, path + _query(query), headers, content))
        except (OSError, http.client.HTTPException, NotAnswered) as failed:
            reason = cause(failed, self.url, os.environ)
            raise Unreachable("UNREACHABLE", f"cannot reach {self.url}: {reason}") from failed
        if not 200 <= answer.status < 300:
            raise self._refusal(answer.status, answer.content)
        return answer.status, answer.content

    def _exchange(self, request: Request) -> Answer:
        """Send a request without requests, and again by requests, if it failed and may be repeated."""
        if self._direct is None:
            return self._session.send(request)
        failed: Answer | Exception
        try:
            failed = answer = self._direct.send(request)
            if not answer.is_repeated(request.method):
                return answer
        except NotConnected as error:
            failed = error
        except NotAnswered as error:
            if request.method not in REPEATED_METHODS:
                raise
            failed = error
        self._direct.close()
        self._direct = None
        return self._session.send_again(request, failed)

    def _refusal(self, status: int, content: bytes) -> MusterError:
        """Return the error. A body that is not an `ErrorBody` comes from a server or proxy that is no control plane."""
        try:
            said = msgspec.json.decode(content, type=ErrorBody)
        except (msgspec.DecodeError, RecursionError):
            moved = "it redirects; use the URL that it redirects to" if 300 <= status < 400 else ""
            why = moved or str(answered_by_something_else(status, content) or "")
            message = f"{self.url} answers {status}, but not as a control plane" + (f": {why}" if why else "")
            return Unreachable("NOT_MUSTER", message, status)
        return error(said.error_code, said.message, status)


def _segment(text: str) -> str:
    """Raises Invalid for a step up, which is one in every encoding: `DELETE …/images/..` would remove the worker."""
    if text in (".", ".."):
        raise Invalid("INVALID_REQUEST", f"{text} is not a valid name")
    return quote(text, safe="")


def _query(query: Mapping[str, Any] | None) -> str:
    given = {name: value for name, value in (query or {}).items() if value is not None}
    texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in given.items()}
    return "?" + urlencode(texts, quote_via=quote) if texts else ""


def _decode(content: bytes, answer: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=answer)
    except (msgspec.DecodeError, RecursionError) as wrong:
        message = f"unexpected answer ({wrong}); the control plane may have another version"
        raise Unreachable("NOT_MUSTER", message) from wrong
