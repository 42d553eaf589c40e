"""Sessions of requests that trust the authorities which the environment names.

requests reads REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE, and trusts one file. OpenSSL's SSL_CERT_FILE is what most other
programs read. An owner who names an authority by either variable wants it trusted, so all files that are named count.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from muster.api.connection import authorities, more_authorities


def new_session(environ: Mapping[str, str]) -> requests.Session:
    """A session for one thread."""
    session = requests.Session()
    session.verify = next(iter(authorities(environ)), True)
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Adapter(more_authorities(environ)))
    return session


class _Adapter(HTTPAdapter):
    """Trusts what `context` trusts, besides the file that `verify` names."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._given: dict[str, Any] = {} if context is None else {"ssl_context": context}
        super().__init__()

    def init_poolmanager(self, *args: Any, **given: Any) -> None:
        super().init_poolmanager(*args, **{**given, **self._given})

    def proxy_manager_for(self, proxy: str, **given: Any) -> Any:
        return super().proxy_manager_for(proxy, **{**given, **self._given})
