"""A connection to a control plane through the standard library alone, for what needs no more (ADR 42).

Importing requests costs more than most commands do. `Direct` makes the same requests, and hands over what it cannot do:
proxies, unusual URLs, and repetitions are requests' (muster/session.py).
"""

from __future__ import annotations

import http.client
import os
import re
import select
import ssl
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from muster.api.connection import authorities
from muster.exceptions import Unreachable

MAX_ANSWER_BYTES = 64 * 1024 * 1024
CHUNK_BYTES = 65536
REPEATED_METHODS = frozenset({"GET", "POST"})
REPEATED_STATUS = frozenset({429, 503, 504})
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy"})
_PLAIN_PATH = re.compile(r"(/[\w~-][\w.~-]*)*", re.ASCII)
_PLAIN_HOST = re.compile(r"[a-z0-9.-]+|[0-9a-f:]+", re.ASCII)


class Request(NamedTuple):
    """`target` is the path and the query, below the control plane's URL."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes | None


class Answer(NamedTuple):
    status: int
    content: bytes
    retry_after: str | None = None

    def is_repeated(self, method: str) -> bool:
        """Whether the request is sent again after this answer."""
        return self.status in REPEATED_STATUS and method in REPEATED_METHODS


class NotConnected(Exception):
    """No connection was made; the cause is in `__cause__`. The control plane does not have the request."""


class NotAnswered(Exception):
    """The connection ended before an answer began; the cause is in `__cause__`."""


class Direct:
    """A connection that is made with the first request, and kept for the next ones."""

    def __init__(self, url: str, api_key: str, timeout: tuple[float, float], environ: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self._path = parts.path
        self._credential = f"Bearer {api_key}"
        self._environ = environ
        self._connect_seconds, self._read_seconds = timeout
        self._is_tls = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port
        self._connection: http.client.HTTPConnection | None = None

    def send(self, request: Request) -> Answer:
        """Raises NotConnected, NotAnswered, Unreachable, OSError, and HTTPException; the last two in mid-answer."""
        connection = self._connected()
        try:
            connection.putrequest(request.method, self._path + request.target, skip_accept_encoding=True)
            connection.putheader("Accept-Encoding", "gzip")
            connection.putheader("Authorization", self._credential)
            for name, value in request.headers.items():
                connection.putheader(name, value)
            if request.body is not None:
                connection.putheader("Content-Length", str(len(request.body)))
            connection.endheaders(request.body)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise NotAnswered from error
        except ValueError:
            self.close()  # a header that cannot be sent: the request has begun, and will not end
            raise
        try:
            return Answer(response.status, _content(response), response.headers.get("Retry-After"))
        except BaseException:
            self.close()  # what is left of this answer would begin the next one
            raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> http.client.HTTPConnection:
        kept = self._connection
        if kept is not None and kept.sock is not None and not _is_dropped(kept):
            return kept
        self.close()
        try:
            made = self._new_connection()
            made.connect()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NotConnected from error
        made.sock.settimeout(self._read_seconds)
        self._connection = made
        return made

    def _new_connection(self) -> http.client.HTTPConnection:
        if not self._is_tls:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._connect_seconds)
        context = trusted(self._environ)
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._connect_seconds, context=context)


def direct(url: str, api_key: str, timeout: tuple[float, float], environ: Mapping[str, str]) -> Direct | None:
    """The connection to a control plane that can be reached without a proxy; None for what only requests can do.

    Other systems than Linux keep proxies also outside of the environment.
    """
    if sys.platform != "linux" or any(value and name.lower() in _PROXIES for name, value in environ.items()):
        return None
    try:
        parts = urlsplit(url)
        is_plain = parts.scheme in ("http", "https") and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        return None
    is_plain = is_plain and not parts.query and not parts.fragment
    if not is_plain or not _PLAIN_HOST.fullmatch(parts.hostname or "") or not _PLAIN_PATH.fullmatch(parts.path):
        return None
    return Direct(url, api_key, timeout, environ)


def trusted(environ: Mapping[str, str]) -> ssl.SSLContext:
    """A context that trusts the authorities of the environment, or else those of certifi, as requests does.

    Raises OSError for a first file that cannot be used. Later ones are passed over, as by `more_authorities`.
    """
    first, *more = authorities(environ) or [_certifi()]
    is_folder = os.path.isdir(first)
    context = ssl.create_default_context(cafile=None if is_folder else first, capath=first if is_folder else None)
    context.set_alpn_protocols(["http/1.1"])
    for path in more:
        try:
            context.load_verify_locations(path)
        except OSError:
            continue
    return context


def _certifi() -> str:
    """The file that certifi brings. Importing certifi costs more than reading the file.

    A distribution of Linux may keep the certificates elsewhere; then no connection is made here, but by requests.
    """
    from importlib.util import find_spec

    spec = find_spec("certifi")
    return os.path.join(os.path.dirname(spec.origin), "cacert.pem") if spec and spec.origin else ""


def _is_dropped(connection: http.client.HTTPConnection) -> bool:
    """Whether the server closed the connection, or sent what nothing asked for."""
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def _content(response: http.client.HTTPResponse) -> bytes:
    """The body, decompressed. Raises Unreachable for more than MAX_ANSWER_BYTES, OSError, and HTTPException."""
    content = bytearray()
    decompressor = _gzip() if response.headers.get("Content-Encoding") == "gzip" else None
    while chunk := response.read(CHUNK_BYTES):
        content += decompressor.decompress(chunk, MAX_ANSWER_BYTES + 1) if decompressor else chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise Unreachable("NOT_MUSTER", f"an answer of more than {MAX_ANSWER_BYTES} bytes")
    if response.length or (decompressor is not None and not decompressor.eof):
        raise http.client.IncompleteRead(b"", response.length)
    return bytes(content)


def _gzip() -> Any:
    import zlib

    return zlib.decompressobj(31)
