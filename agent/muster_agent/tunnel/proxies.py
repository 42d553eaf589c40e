"""The proxy on the way to a gateway: the same variables as on the way to the control plane, where requests reads them.

A proxy's URL may contain a password, so no message contains the URL.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from urllib.parse import SplitResult, unquote, urlsplit

FORM = "give http://USER:PASSWORD@HOST:PORT, with %XX for special characters in the user and the password"
USUAL_PORTS = {"http": 80, "https": 443}


class UnusableProxy(Exception):
    """A variable does not name a proxy that can be used; the message names the variable and what to do."""


@dataclass(frozen=True)
class Proxy:
    """`variable` is where `url` was read; `url` is as websockets takes it."""

    variable: str
    url: str = field(repr=False)


def proxy_for(url: str, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy for a gateway; None if the gateway is connected to directly. Raises UnusableProxy."""
    parts = urlsplit(url)
    names = (f"{parts.scheme}_proxy", f"{parts.scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY")
    variable = next((name for name in names if environ.get(name, "").strip()), None)
    if variable is None or _is_exempt(parts, environ.get("no_proxy") or environ.get("NO_PROXY") or ""):
        return None
    return Proxy(variable, _checked(variable, environ[variable].strip()))


def _is_exempt(parts: SplitResult, no_proxy: str) -> bool:
    host, port = (parts.hostname or "").lower(), parts.port or USUAL_PORTS.get(parts.scheme, 0)
    return any(_matches(entry, host, port) for entry in no_proxy.lower().replace(",", " ").split())


def _matches(entry: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY is for the host: `*`, an address, a network, a domain; each with a port or not."""
    if entry == "*":
        return True
    with suppress(ValueError):
        return ip_address(host) in ip_network(entry.strip("[]"), strict=False)
    name, colon, number = entry.rpartition(":") if entry.count(":") == 1 or "]:" in entry else (entry, "", "")
    if colon and number != str(port):
        return False
    domain = name.strip("[]").lstrip("*").lstrip(".")
    return domain != "" and (host == domain or host.endswith(f".{domain}"))


def _checked(variable: str, value: str) -> str:
    """The proxy's URL as websockets takes it: with a scheme, and a password beside a user. Raises UnusableProxy."""
    text = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(text)
        is_good = parts.hostname is not None and parts.port != 0 and not parts.path.strip("/")
        for part in (parts.username, parts.password):
            unquote(part or "", errors="strict")
    except ValueError:
        is_good = False
    if not is_good or parts.query or parts.fragment:
        raise UnusableProxy(f"{variable} is not the URL of a proxy: {FORM}")
    if parts.scheme.startswith("socks"):
        if find_spec("python_socks") is None:
            advice = "name an HTTP proxy, or install python-socks"
            raise UnusableProxy(f"{variable} names a SOCKS proxy, and python-socks is not installed: {advice}")
    elif parts.scheme not in USUAL_PORTS:
        raise UnusableProxy(f"{variable} is not the URL of a proxy: {FORM}")
    if parts.username is not None and parts.password is None:
        return text.replace("@", ":@", 1)
    return text
