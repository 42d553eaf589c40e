"""What a worker's `address` may be, and the endpoint that it makes with a port (docs/adr/0028).

An address is a claim: programs send requests, and models' keys, to whatever it names. So each way in which a program
may read it is checked: old forms of IPv4 (`0xA9FEA9FE`), IPv4 inside IPv6, a user name before the host. What only some
programs can read is not published at all.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import unquote, urlsplit

from muster.api.structs import Value

Ip = IPv4Address | IPv6Address

PORTS = {"http": 80, "https": 443}


class Kind(IntEnum):
    """From harmless to dangerous."""

    ORDINARY = 0
    LOOPBACK = 1
    """It means another host to everybody who reads it."""
    MALFORMED = 2
    """Neither a name, nor an IP address, nor a URL with `{port}`."""
    FORBIDDEN = 3
    """Link-local, a metadata service, multicast, unspecified, broadcast, or reserved."""


class Reading(Value, frozen=True):
    """`problem` says what is wrong and what to do; None for an ordinary address. `host` is in its canonical form."""

    kind: Kind
    problem: str | None = None
    host: str = ""


_LOOPBACK = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
_FORBIDDEN: tuple[tuple[IPv4Network | IPv6Network, str], ...] = (
    (IPv4Network("0.0.0.0/8"), "an unspecified address"),
    (IPv4Network("169.254.0.0/16"), "a link-local address, where clouds have their metadata services"),
    (IPv4Network("100.100.100.200/32"), "the address of a metadata service"),
    (IPv4Network("168.63.129.16/32"), "the address of a metadata service"),
    (IPv4Network("192.0.0.0/24"), "a reserved address"),
    (IPv4Network("192.80.8.124/32"), "the address of a metadata service"),
    (IPv4Network("224.0.0.0/4"), "a multicast address"),
    (IPv4Network("255.255.255.255/32"), "the broadcast address"),
    (IPv4Network("240.0.0.0/4"), "a reserved address"),
    (IPv6Network("::/128"), "an unspecified address"),
    (IPv6Network("fd00:ec2::/32"), "the address of a metadata service"),
    (IPv6Network("fd20:ce::254/128"), "the address of a metadata service"),
    (IPv6Network("fd00:42::42/128"), "the address of a metadata service"),
    (IPv6Network("fe80::/10"), "a link-local address"),
    (IPv6Network("fec0::/10"), "a site-local address, which is reserved"),
    (IPv6Network("ff00::/8"), "a multicast address"),
    (IPv6Network("100::/64"), "a reserved address"),
)
# `re` compiles a pattern when it is first used, and keeps it: most processes that import this module read no address.
_METADATA = (
    r"(?:.*\.)?(?:metadata|instance-data(?:\.ec2\.internal)?|metadata\.google(?:\.internal)?|metadata\.goog"
    r"|metadata\.(?:tencentyun\.com|platformequinix\.com|packet\.net|azure\.com|azure\.internal)"
    r"|metadata\.cloud\.ibm\.com)"
)
"""Names of metadata services, and names below them."""

_LOOPBACK_NAMES = frozenset(
    {"localhost", "localhost6", "ip6-localhost", "ip6-loopback", "loopback", "localhost.localdomain"}
)

# The forms of inet_aton(3): one to four numbers, each decimal, octal or hexadecimal.
_NUMBER = r"(?:0[xX][0-9a-fA-F]*|[0-9]+)"
_NUMERIC = rf"{_NUMBER}(?:\.{_NUMBER}){{0,3}}"
_DOTTED = r"(?:0|[1-9]\d{0,2})(?:\.(?:0|[1-9]\d{0,2})){3}"
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = rf"{_LABEL}(?:\.{_LABEL})*"
MAX_NAME_CHARACTERS = 253
EXPECTED = "expected a name, an IP address, or an http(s) URL with {port} in it"


def _matches(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text, re.ASCII) is not None


def of_ip(ip: Ip) -> Reading:
    """Of one IP address, an IPv4 address inside of an IPv6 address included."""
    host = str(ip)
    for network, what in _FORBIDDEN:
        if ip in network:
            return Reading(Kind.FORBIDDEN, f"{ip} is {what}", host)
    if any(ip in network for network in _LOOPBACK):
        return Reading(Kind.LOOPBACK, f"{ip} is a loopback address, which is another host for each client", host)
    inner = [of_ip(ipv4) for ipv4 in _embedded(ip)] if isinstance(ip, IPv6Address) else []
    worst = max(inner, key=lambda reading: reading.kind, default=None)
    if worst is not None and worst.kind is not Kind.ORDINARY:
        return Reading(worst.kind, f"{ip} leads to {worst.host}: {worst.problem}", host)
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return Reading(Kind.ORDINARY, None, str(mapped or ip))


def _embedded(ip: IPv6Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses to which a host or a router may translate `ip`."""
    last = IPv4Address(int(ip) & 0xFFFFFFFF)
    head = int(ip) >> 32
    compatible, mapped, translated = 0, 0xFFFF, 0xFFFF0000
    nat64 = int(IPv6Address("64:ff9b::")) >> 32
    if (head in (mapped, translated, nat64)) or (head == compatible and int(ip) > 1):
        yield last
    if ip in IPv6Network("64:ff9b:1::/48") or head & 0xFDFFFFFF == 0x5EFE:  # NAT64 of a site; ISATAP
        yield last
    if ip.sixtofour is not None:
        yield ip.sixtofour
    if ip.teredo is not None:
        yield from ip.teredo


def of_host(text: str) -> Reading:
    """Of a host as it stands in a URL, without brackets."""
    if not text.isascii():
        plain = unicodedata.normalize("NFKC", text).replace("。", ".")
        if plain.isascii() and (inner := of_host(plain)).kind is Kind.FORBIDDEN:
            return inner
        return Reading(Kind.MALFORMED, f"{text[:80]!r} is not ASCII: write an international name as xn--…")
    name = text.lower().removesuffix(".")
    if ":" in name:
        return _of_ipv6(name)
    if _matches(_NUMERIC, name):
        return _of_numbers(name)
    if name.endswith(".localhost") or name in _LOOPBACK_NAMES:
        return Reading(Kind.LOOPBACK, f"{text} is a loopback name, which is another host for each client", name)
    if _matches(_METADATA, name):
        return Reading(Kind.FORBIDDEN, f"{text[:80]} is the name of a metadata service", name)
    if len(name) > MAX_NAME_CHARACTERS or not _matches(_NAME, name) or _matches(_NUMERIC, name.rpartition(".")[2]):
        return Reading(Kind.MALFORMED, f"{text[:80]!r} is no name of a host: {EXPECTED}")
    return Reading(Kind.ORDINARY, None, name)


def _of_ipv6(text: str) -> Reading:
    plain, percent, _ = text.partition("%")
    try:
        found = of_ip(ip_address(plain))
    except ValueError:
        return Reading(Kind.MALFORMED, f"{text[:80]!r} is no IPv6 address: {EXPECTED}")
    if percent and found.kind is not Kind.FORBIDDEN:
        return Reading(Kind.MALFORMED, f"{text[:80]!r}: a zone (%) means nothing to other hosts; leave it out")
    return found


def _of_numbers(text: str) -> Reading:
    """inet_aton's forms. Only four decimal numbers are read alike by every program."""
    *heads, last = (_number(part) for part in text.split("."))
    bits = 8 * (4 - len(heads))
    if any(head > 255 for head in heads) or last >= 1 << bits:
        return Reading(Kind.MALFORMED, f"{text[:80]!r} is no IPv4 address: {EXPECTED}")
    value = last
    for index, head in enumerate(heads):
        value |= head << (24 - 8 * index)
    found = of_ip(IPv4Address(value))
    if _matches(_DOTTED, text) or found.kind is Kind.FORBIDDEN:
        return found
    return Reading(Kind.MALFORMED, f"{text[:80]!r}: write an IPv4 address as four decimal numbers")


def _number(text: str) -> int:
    if text[:2] in ("0x", "0X"):
        return int(text[2:] or "0", 16)
    octal = text.startswith("0") and all(digit in "01234567" for digit in text)
    return int(text[:64], 8 if octal else 10)


def read(address: str) -> Reading:
    """What `address` is, before a port is known."""
    found = _of_template(address) if "://" in address else _bare(address)
    if found.kind is Kind.MALFORMED:
        # What one program finds unreadable another one reads, perhaps as this.
        hidden = (of_host(part) for part in _parts(address))
        return next((reading for reading in hidden if reading.kind is Kind.FORBIDDEN), found)
    return found


def _bare(address: str) -> Reading:
    if address.startswith("[") and address.endswith("]") and ":" in address:
        return of_host(address[1:-1])
    if address.count(":") == 1:
        return Reading(Kind.MALFORMED, f"{address[:80]!r}: leave the port out; each model has its own")
    return of_host(address)


def _of_template(address: str) -> Reading:
    found = _of_url(address.replace("{port}", "20000"))
    if "{port}" in address or found.kind is Kind.MALFORMED:
        return found
    parts = urlsplit(address)
    if parts.port is not None or parts.path.strip("/"):
        return Reading(Kind.MALFORMED, f"{address[:80]!r}: put {{port}} where the model's port belongs")
    return found


def _of_url(url: str) -> Reading:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return Reading(Kind.MALFORMED, f"{url[:80]!r} is no URL: {EXPECTED}")
    if parts.scheme not in PORTS or not host or port == 0:
        return Reading(Kind.MALFORMED, f"{url[:80]!r} is no http(s) URL: {EXPECTED}")
    if "@" in parts.netloc or "?" in url or "#" in url or "\\" in url or re.search(r"[\s\x00-\x1f{}]", url):
        return Reading(Kind.MALFORMED, f"{url[:80]!r}: a user, a query or a fragment cannot be part of an address")
    return of_host(host)


def _parts(text: str) -> Iterator[str]:
    """Everything in `text` that a program might take for the host."""
    for form in {text, unquote(text), unicodedata.normalize("NFKC", unquote(text))}:
        for part in re.split(r"[/@#?\\\s\[\]]+", form):
            yield part
            yield from (p for p in (part.rpartition(":")[0], part.partition(":")[0]) if p and not p.isdecimal())


def endpoint(address: str, port: int) -> str:
    """The base URL of a model on `port` of `address`; `of_endpoint` reads it before it is shown."""
    if "://" in address:
        return address.replace("{port}", str(port)) if "{port}" in address else f"{address.rstrip('/')}:{port}"
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    return f"http://[{bare}]:{port}" if ":" in bare else f"http://{bare}:{port}"


def of_endpoint(url: str) -> Reading:
    """Of a whole endpoint: with its port, a template may have become another address."""
    return _of_url(url)


class Place(Value, frozen=True):
    """Where an endpoint leads: a canonical host, a port, and a path where one host and port serve several models."""

    host: str
    port: int
    path: str = ""


def place(url: str) -> Place | None:
    """Where the endpoint `url` leads; None for one that cannot be read."""
    found = _of_url(url)
    if found.kind in (Kind.MALFORMED, Kind.FORBIDDEN):
        return None
    parts = urlsplit(url)
    return Place(found.host, parts.port or PORTS[parts.scheme], parts.path.rstrip("/"))
