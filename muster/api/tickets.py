"""Tickets: how a worker shows a gateway who it is, without a question to the control plane.

    mst_tkt_<version>.<claims, base64url of JSON>.<HMAC-SHA-256 of both, base64url>

The key of a gateway is derived from a master key and the id of the gateway's API key, so that the control plane stores
one secret for all gateways, and a gateway can neither make tickets for another one nor learn the master.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

import msgspec
from msgspec import Struct

PREFIX = "mst_tkt_"
LIFETIME_SECONDS = 600.0
MAX_CLOCK_SKEW_SECONDS = 120.0
"""How far in the future a ticket may be issued, by the gateway's clock."""
MAX_LENGTH = 2048


class Claims(Struct, array_like=True, frozen=True):
    """`audience` is the gateway's URL; `issued` and `expires` are epoch seconds of the control plane's clock."""

    audience: str
    worker_id: str
    session: int
    issued: float
    expires: float


class BadTicket(Exception):
    """The ticket does not open the gateway; the message says why, and holds nothing of the ticket."""


def derive(master: bytes, key_id: str) -> bytes:
    """The ticket key of the gateway whose API key has this id."""
    return hmac.digest(master, b"muster gateway " + key_id.encode(), hashlib.sha256)


def issue(key: bytes, version: int, claims: Claims) -> str:
    signed = f"{PREFIX}{version}.{_encode(msgspec.json.encode(claims))}"
    return f"{signed}.{_encode(_mac(key, signed))}"


def read(ticket: str, keys: Mapping[int, bytes], audience: str) -> Claims:
    """The claims of a ticket that one of `keys` (by version) signed for `audience`, even if it has expired.

    Raises BadTicket.
    """
    if len(ticket) > MAX_LENGTH or not ticket.isascii() or not ticket.startswith(PREFIX):
        raise BadTicket("this is not a ticket")
    signed, _, mac = ticket.rpartition(".")
    version, _, encoded = signed.removeprefix(PREFIX).partition(".")
    key = keys.get(int(version)) if version.isdigit() and len(version) < 10 else None
    if key is None:
        raise BadTicket("its key is not known here")
    if not hmac.compare_digest(_mac(key, signed), _decode(mac)):
        raise BadTicket("its signature is wrong")
    try:
        claims = msgspec.json.decode(_decode(encoded), type=Claims)
    except msgspec.DecodeError as error:
        raise BadTicket("its claims cannot be read") from error
    if claims.audience != audience:
        raise BadTicket("it is for another gateway")
    return claims


def _mac(key: bytes, signed: str) -> bytes:
    return hmac.digest(key, signed.encode(), hashlib.sha256)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise BadTicket("this is not a ticket") from error
