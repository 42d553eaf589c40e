"""How Muster's HTTP clients use requests: trusted authorities, credentials, and limits on what is read.

requests reads REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE, and trusts one file. OpenSSL's SSL_CERT_FILE is what most other
programs read. An owner who names an authority by either variable wants it trusted, so all files that are named count.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.util import Retry

from muster.api.connection import authorities, more_authorities


class TooLong(requests.exceptions.ContentDecodingError):
    """A body of more bytes than its reader takes."""


class Bearer(AuthBase):
    """As an AuthBase, because requests prefers a ~/.netrc entry to a header. Without `token`, no credential is sent."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def read_limited(response: requests.Response, limit: int) -> bytes:
    """The body, decompressed. Raises TooLong for more than `limit` bytes, and requests.RequestException."""
    content = bytearray()
    for chunk in response.iter_content(65536):
        content += chunk
        if len(content) > limit:
            raise TooLong(f"an answer of more than {limit} bytes")
    return bytes(content)


def new_session(environ: Mapping[str, str], retries: Retry | int = 0) -> requests.Session:
    """A session for one thread."""
    session = requests.Session()
    session.verify = next(iter(authorities(environ)), True)
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Adapter(more_authorities(environ), retries))
    return session


class _Adapter(HTTPAdapter):
    """Trusts what `context` trusts, besides the file that `verify` names."""

    def __init__(self, context: ssl.SSLContext | None, retries: Retry | int) -> None:
        self._given: dict[str, Any] = {} if context is None else {"ssl_context": context}
        super().__init__(max_retries=retries)

    def init_poolmanager(self, *args: Any, **given: Any) -> None:
        super().init_poolmanager(*args, **{**given, **self._given})

    def proxy_manager_for(self, proxy: str, **given: Any) -> Any:
        return super().proxy_manager_for(proxy, **{**given, **self._given})
