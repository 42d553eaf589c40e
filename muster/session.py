"""Requests to a control plane through requests: proxies, repetitions, and the sessions that callers bring."""

from __future__ import annotations

import os

import requests
from urllib3.exceptions import ConnectTimeoutError, ProtocolError
from urllib3.response import HTTPResponse
from urllib3.util import Retry

from muster.direct import MAX_ANSWER_BYTES, REPEATED_METHODS, REPEATED_STATUS, Answer, NotConnected, Request
from muster.exceptions import Unreachable
from muster.http import Bearer, TooLong, new_session, read_limited

RETRIES = Retry(
    total=4,
    allowed_methods=REPEATED_METHODS,
    status_forcelist=REPEATED_STATUS,
    backoff_factor=0.25,
    backoff_jitter=0.25,
    retry_after_max=30,
    raise_on_status=False,
)


class SessionConnection:
    """Sends requests by a session, which repeats the ones that it may repeat."""

    def __init__(self, url: str, api_key: str, timeout: tuple[float, float], session: requests.Session | None) -> None:
        self._url = url
        self._auth = Bearer(api_key)
        self._timeout = timeout
        self._session = session or new_session(os.environ, RETRIES)

    def send(self, request: Request) -> Answer:
        """Raises Unreachable, and OSError, which requests' exceptions are."""
        return self._send(self._session, request)

    def send_again(self, request: Request, failed: Answer | Exception) -> Answer:
        """Send a request that failed once: as `send`, with one repetition less, after the pause that is due."""
        with new_session(os.environ, _after(request, failed)) as session:
            return self._send(session, request)

    def close(self) -> None:
        self._session.close()

    def _send(self, session: requests.Session, request: Request) -> Answer:
        try:
            with session.request(
                request.method,
                self._url + request.target,
                data=request.body,
                headers=request.headers,
                auth=self._auth,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            ) as response:
                return Answer(response.status_code, read_limited(response, MAX_ANSWER_BYTES))
        except TooLong as failed:
            raise Unreachable("NOT_MUSTER", str(failed)) from failed


def _after(request: Request, failed: Answer | Exception) -> Retry:
    """Return what is left of RETRIES after a first failure, and wait as long as RETRIES says."""
    if isinstance(failed, Answer):
        headers = {"Retry-After": failed.retry_after} if failed.retry_after else {}
        response = HTTPResponse(status=failed.status, headers=headers)
        left = RETRIES.increment(request.method, request.target, response=response)
        left.sleep(response)
        return left
    is_unsent = isinstance(failed, NotConnected)
    error = ConnectTimeoutError() if is_unsent else ProtocolError()
    return RETRIES.increment(request.method, request.target, error=error)  # the first repetition has no pause
