"""Which control plane, and with which key: MUSTER_URL and MUSTER_API_KEY, else what `muster login` kept.

The file is $XDG_CONFIG_HOME/muster/login.json, and only its owner can read it. A kept key is never sent to another URL
than the one that it was kept for.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct


class AccountError(Exception):
    """Its message says what to do."""


class Account(Struct, frozen=True):
    url: str
    api_key: str
    insecure: bool = False

    def __repr__(self) -> str:
        return f"Account({self.url!r})"


def path(environment: Mapping[str, str]) -> Path:
    home = environment.get("XDG_CONFIG_HOME") or str(Path(environment.get("HOME") or "~").expanduser() / ".config")
    return Path(home) / "muster" / "login.json"


def load(environment: Mapping[str, str]) -> Account:
    """Raises AccountError."""
    url, key = environment.get("MUSTER_URL"), environment.get("MUSTER_API_KEY")
    if url and key:
        return Account(check_url(url, bool(environment.get("MUSTER_INSECURE"))), check_key(key))
    kept = _kept(path(environment))
    if url and (kept is None or kept.url != url.rstrip("/")):
        raise AccountError("MUSTER_URL is set and MUSTER_API_KEY is not: set both, or neither and run muster login")
    if kept is None:
        missing = "MUSTER_API_KEY is set and MUSTER_URL is not" if key else "not logged in"
        raise AccountError(f"{missing}: run muster login URL, or set MUSTER_URL and MUSTER_API_KEY")
    return Account(kept.url, check_key(key), kept.insecure) if key else kept


def keep(account: Account, environment: Mapping[str, str]) -> Path:
    """Written beside and moved into place: it is never half there, and never readable by others."""
    place = path(environment)
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(dir=place.parent)  # 0600
    with open(descriptor, "wb") as file:
        file.write(msgspec.json.encode(account))
    os.replace(name, place)
    return place


def forget(environment: Mapping[str, str]) -> Path:
    place = path(environment)
    with contextlib.suppress(FileNotFoundError):
        place.unlink()
    return place


def _kept(place: Path) -> Account | None:
    try:
        return msgspec.json.decode(place.read_bytes(), type=Account)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise AccountError(f"cannot read {place}: run muster login URL again ({error})") from error


def check_url(url: str, insecure: bool) -> str:
    """Raises AccountError. A key must not cross a network in the clear by accident."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AccountError(f"expected https://host[:port], got {url!r}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise AccountError("the URL: expected no user, password, query or fragment")
    if parts.scheme == "http" and not insecure and not is_loopback(parts.hostname):
        message = "plain http would show the key to the network: use https, or allow it with --insecure"
        raise AccountError(f"{message} (or MUSTER_INSECURE=1)")
    return url.rstrip("/")


def check_key(key: str) -> str:
    """Raises AccountError for what cannot be sent in a header; without showing it."""
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or len(key) > 512:
        raise AccountError("that is no API key: expected one line like mst_key_…")
    return key


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
