"""Requests to a control plane: the endpoint of a name, its types, and which requests are repeated.

GET is repeated freely, POST under its Idempotency-Key. PATCH and DELETE are repeated only if no connection was made:
after a lost answer, the caller has to check whether the change was made.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec
import requests
from urllib3.util import Retry

from muster.api.connection import answered_by_something_else, cause
from muster.api.endpoints import BY_NAME
from muster.api.resources import Accepted, ErrorBody
from muster.exceptions import Invalid, MusterError, Unreachable, error
from muster.http import Bearer, TooLong, new_session, read_limited

T = TypeVar("T")

TIMEOUT_SECONDS = (5.0, 35.0)
"""Seconds to connect, and between two bytes of the answer: routes wait for a worker for up to 25."""
MAX_ANSWER_BYTES = 64 * 1024 * 1024
RETRIES = Retry(
    total=4,
    allowed_methods={"GET", "POST"},
    status_forcelist={429, 503, 504},
    backoff_factor=0.25,
    backoff_jitter=0.25,
    retry_after_max=30,
    raise_on_status=False,
)


class Transport:
    """One per thread. Every method raises MusterError."""

    def __init__(self, url: str, api_key: str, session: requests.Session | None, timeout: tuple[float, float]) -> None:
        self.url = url.rstrip("/")
        self._auth = Bearer(api_key)
        self._session = session or new_session(os.environ, RETRIES)
        self._timeout = timeout

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
        self._session.close()

    def _send(self, name: str, given: dict[str, Any], key: str | None) -> tuple[int, bytes]:
        endpoint = BY_NAME[name]
        body, query = given.pop("body", None), given.pop("query", None)
        path = re.sub(r"{(\w+)}", lambda found: _segment(given[found[1]]), endpoint.path)
        headers = {"Accept": endpoint.media, "User-Agent": "muster"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if endpoint.method == "POST":
            headers["Idempotency-Key"] = key or uuid.uuid4().hex
        try:
            with self._session.request(
                endpoint.method,
                self.url + path + _query(query),
                data=msgspec.json.encode(body) if body is not None else None,
                headers=headers,
                auth=self._auth,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            ) as response:
                content = read_limited(response, MAX_ANSWER_BYTES)
        except TooLong as failed:
            raise Unreachable("NOT_MUSTER", str(failed)) from failed
        except (requests.RequestException, OSError) as failed:
            reason = cause(failed, self.url, os.environ)
            raise Unreachable("UNREACHABLE", f"cannot reach {self.url}: {reason}") from failed
        if not 200 <= response.status_code < 300:
            raise self._refusal(response.status_code, content)
        return response.status_code, content

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
