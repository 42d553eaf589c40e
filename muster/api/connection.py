"""Why a request had no answer, in words that say what to mend: for the agent, `doctor`, and the command line.

requests, urllib3, and the standard library wrap one another's exceptions; the cause is somewhere in the chain. This
module looks at names and at types of the standard library, so that `contract` depends on no HTTP library.
"""

from __future__ import annotations

import errno
import http.client
import os
import re
import socket
import ssl
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""Variables that name the certificates of trusted authorities. The last is OpenSSL's, of which requests by itself knows
nothing."""

Kind = Literal[
    "certificate", "authorities", "name", "refused", "unreachable", "proxy", "timeout", "tls", "closed", "url", "other"
]

_EXPIRED, _NOT_YET, _HOSTNAME, _ADDRESS = 10, 9, 62, 64
"""OpenSSL's X509_V_ERR_… that are not about who signed the certificate."""
_STATUS_LINE = re.compile(r"(?:Tunnel connection failed: |proxy rejected connection: HTTP )(\d{3})")
"""In the words of http.client, and of websockets."""
_LOGIN = "give it in the proxy's variable, as http://USER:PASSWORD@HOST:PORT"
_PEM = "name a file of certificates (PEM)"
_CLOSED = "a firewall or proxy may do that"
_NO_ROUTE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.ENETDOWN, errno.EHOSTDOWN}


class Cause(NamedTuple):
    """`what` happened and how to `mend` it; either may be all that is known."""

    kind: Kind
    what: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.mend}" if self.mend else self.what


def authorities(environ: Mapping[str, str]) -> list[str]:
    """The files with the certificates of trusted authorities, each once; without any, the HTTP library has its own."""
    return list(dict.fromkeys(environ[name] for name in CA_VARIABLES if environ.get(name)))


def more_authorities(environ: Mapping[str, str]) -> ssl.SSLContext | None:
    """A context that trusts all of `authorities` but the first, which HTTP libraries take by themselves; None without.

    One that cannot be read is passed over: `cause` names it where a certificate is not trusted.
    """
    more = authorities(environ)[1:]
    if not more:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for path in more:
        with suppress(OSError):
            context.load_verify_locations(path)
    return context


def cause(error: BaseException, url: str, environ: Mapping[str, str]) -> Cause:
    """Why `error` came instead of an answer of `url`. `environ` has the proxies and authorities that were used."""
    chain = list(wrapped(error))
    # The reason that says most comes first; a proxy is in the way of all but what the host itself lacks.
    own = _authorities(chain, environ) or _certificate(chain, environ)
    if own is not None:
        return own
    through = next((inner for inner in chain if "Proxy" in type(inner).__name__), None)
    found = _tls(chain) or _name(chain) or _connection(chain) or _timeout(chain) or _closed(chain) or _url(chain)
    if through is not None:
        return _proxy(chain, found, url, environ)
    return found or Cause("other", _told(error))


def answered_by_something_else(status: int, body: bytes) -> Cause | None:
    """What an answer means that no control plane writes, where that is known."""
    text = body[:4096].decode(errors="replace")
    if status == 407:
        return Cause("proxy", "the proxy asks for a login (407)", _LOGIN)
    if status == 400 and re.search(r"HTTP request (?:was sent )?to an? HTTPS|HTTP request was sent to HTTPS", text):
        return Cause("tls", "the server expects TLS", "use https:// in the URL")
    return None


def _authorities(chain: list[BaseException], environ: Mapping[str, str]) -> Cause | None:
    """A file of authorities that cannot be used: requests and OpenSSL say so in words alone."""
    name = next((variable for variable in CA_VARIABLES if environ.get(variable)), None)
    connects = any(type(error).__name__ == "NewConnectionError" for error in chain)
    for error in chain:
        text = str(error)
        missing = "Could not find a suitable TLS CA certificate bundle" in text
        empty = "NO_CERTIFICATE_OR_CRL_FOUND" in text or "no certificate or crl found" in text or "[X509" in text
        denied = not connects and isinstance(error, PermissionError)
        if name is not None and (missing or empty or denied):
            wrong = "is not there" if missing else "holds no certificate" if empty else "cannot be read"
            return Cause("authorities", f"{name} names {environ[name]}, which {wrong}", _PEM)
    return None


def _certificate(chain: list[BaseException], environ: Mapping[str, str]) -> Cause | None:
    exact = [error for error in chain if isinstance(error, ssl.SSLCertVerificationError)]
    for error in exact or [error for error in chain if "CERTIFICATE_VERIFY_FAILED" in str(error)][-1:]:
        code, said = getattr(error, "verify_code", 0), getattr(error, "verify_message", "verification failed")
        if code == _EXPIRED:
            return Cause("certificate", "the server's certificate has expired", "renew it, or set this host's clock")
        if code == _NOT_YET:
            return Cause("certificate", "the server's certificate is not valid yet", "set this host's clock")
        if code in (_HOSTNAME, _ADDRESS):
            problem = f"the server's certificate is for another name ({said.rstrip('.')})"
            return Cause("certificate", problem, "correct the URL")
        mend = "set SSL_CERT_FILE or REQUESTS_CA_BUNDLE to a file with the certificate of the authority that signed it"
        named = [name for name in CA_VARIABLES if environ.get(name)]
        for name in named:
            if not os.path.exists(environ[name]):
                return Cause("authorities", f"{name} names {environ[name]}, which is not there", _PEM)
        if named:
            mend += f" (not in {', '.join(f'{name}={environ[name]}' for name in named)})"
        return Cause("certificate", f"the server's certificate is not trusted ({said})", mend)
    return None


def _tls(chain: list[BaseException]) -> Cause | None:
    for error in chain:
        text = str(error)
        if re.search(
            r"WRONG_VERSION_NUMBER|HTTP_REQUEST|RECORD_LAYER_FAILURE|record layer failure|UNKNOWN_PROTOCOL", text
        ):
            return Cause("tls", "the server does not speak TLS", "use http:// in the URL, or the port that speaks TLS")
        if isinstance(error, ssl.SSLEOFError) or "UNEXPECTED_EOF_WHILE_READING" in text:
            return Cause("closed", "the server closed the connection during the TLS handshake", _CLOSED)
        if isinstance(error, ssl.SSLError) and error.reason:
            return Cause("tls", f"TLS failed ({error.reason})")
    return None


def _name(chain: list[BaseException]) -> Cause | None:
    resolved = [error for error in chain if isinstance(error, socket.gaierror)]
    if any(error.errno == socket.EAI_AGAIN for error in resolved):
        mend = "check this host's network and its name server (/etc/resolv.conf)"
        return Cause("name", "the host name cannot be resolved: no name server answers", mend)
    if resolved or any(type(error).__name__ == "NameResolutionError" for error in chain):
        return Cause("name", "no such host: the name cannot be resolved", "check the URL, and this host's name server")
    return None


def _connection(chain: list[BaseException]) -> Cause | None:
    for error in chain:
        if isinstance(error, ConnectionRefusedError) or "Connection refused" in str(error):
            return Cause("refused", "the connection was refused: nothing listens there")
        if isinstance(error, OSError) and error.errno in _NO_ROUTE:
            return Cause("unreachable", f"no route to the server ({error.strerror})", "check this host's network")
    return None


def _timeout(chain: list[BaseException]) -> Cause | None:
    names = {type(error).__name__ for error in chain}
    if names & {"ConnectTimeout", "ConnectTimeoutError"}:
        mend = "check firewalls on the way: one may drop the packets"
        return Cause("timeout", "timed out: no connection was made", mend)
    if names & {"ReadTimeout", "ReadTimeoutError"} or any(isinstance(error, TimeoutError) for error in chain):
        return Cause("timeout", "timed out: connected, but no answer arrived")
    return None


def _closed(chain: list[BaseException]) -> Cause | None:
    for error in chain:
        reset = isinstance(error, ConnectionResetError) and not isinstance(error, http.client.RemoteDisconnected)
        if reset or "Connection reset" in str(error):
            return Cause("closed", "the server reset the connection", _CLOSED)
        if isinstance(error, http.client.RemoteDisconnected | BrokenPipeError | ConnectionAbortedError):
            return Cause("closed", "the server closed the connection without an answer", _CLOSED)
        if isinstance(error, http.client.IncompleteRead) or type(error).__name__ in (
            "IncompleteRead",
            "ChunkedEncodingError",
        ):
            return Cause("closed", "the server closed the connection in the middle of the answer", _CLOSED)
        if isinstance(error, http.client.BadStatusLine):
            return Cause("closed", "the server does not speak HTTP", "check the URL and its port")
    return None


def _url(chain: list[BaseException]) -> Cause | None:
    names = {type(error).__name__ for error in chain}
    if "SOCKS" in " ".join(map(str, chain)):
        return Cause("proxy", "a SOCKS proxy is set, but PySocks is missing", "install PySocks")
    if names & {"InvalidURL", "LocationParseError", "MissingSchema", "InvalidSchema"}:
        return Cause("url", "not a valid server URL", "correct it")
    return None


def _proxy(chain: list[BaseException], found: Cause | None, url: str, environ: Mapping[str, str]) -> Cause:
    name, address = _proxy_variable(url, environ)
    which = f"the proxy {address} ({name})" if name else "the proxy"
    advice = f"correct the variable, or add {urlsplit(url).hostname} to NO_PROXY"
    for error in chain:
        if "InvalidProxyURL" in type(error).__name__:
            return Cause("proxy", f"{name or 'the proxy variable'} holds no URL", advice)
        if status := _STATUS_LINE.search(str(error)):
            if status[1] == "407" and "@" in environ.get(name, ""):
                mend = f"correct them in {name}, with %XX for special characters"
                return Cause("proxy", f"{which} refuses the user or the password (407)", mend)
            if status[1] == "407":
                return Cause("proxy", f"{which} asks for a login (407)", _LOGIN)
            return Cause("proxy", f"{which} does not connect to the server ({status[1]})", advice)
    return Cause("proxy", f"{which} does not serve: {found.what if found else _told(chain[0])}", advice)


def _proxy_variable(url: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """The variable that names the proxy for `url`, and its host without credentials."""
    scheme = urlsplit(url).scheme.lower()
    for name in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY"):
        if environ.get(name):
            return name, environ[name].rpartition("@")[2].rpartition("//")[2].rstrip("/")
    return "", ""


def wrapped(error: BaseException) -> Iterator[BaseException]:
    """`error` and all that it wraps, each once, the outermost first.

    urllib3 keeps the inner error as `reason`, requests as an argument, and the standard library as cause or context.
    """
    seen: set[int] = set()
    left = deque([error])
    while left:
        current = left.popleft()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inside = (current.__cause__, getattr(current, "reason", None), *current.args, current.__context__)
        left.extend(inner for inner in inside if isinstance(inner, BaseException))


def _told(error: BaseException) -> str:
    """The type alone: messages of HTTP libraries have URLs and addresses of objects in them."""
    return type(error).__name__
