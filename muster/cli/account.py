"""The control plane and the API key: MUSTER_URL and MUSTER_API_KEY, or else the stored login.

The file is $XDG_CONFIG_HOME/muster/login.json, and only its owner can read it. A kept key is never sent to another URL
than the one that it was kept for.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from pathlib import Path


class AccountError(Exception):
    """Its message says what to do."""


class Account(Struct, frozen=True):
    url: str
    api_key: str
    insecure: bool = False

    def __repr__(self) -> str:
        return f"Account({self.url!r})"


def path(environment: Mapping[str, str]) -> Path:
    from pathlib import Path  # not needed where variables name the control plane

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
    """Store the login in a temporary file and rename it: the file is complete, and readable only by its owner."""
    import tempfile

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
    """Return the URL without a slash at the end. Raises AccountError, also for plain HTTP to another machine."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AccountError(f"expected https://host[:port], got {url!r}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise AccountError("the URL: expected no user, password, query or fragment")
    if parts.scheme == "http" and not insecure and not is_loopback(parts.hostname):
        message = "plain HTTP would expose the key to the network: use HTTPS, or allow it with --insecure"
        raise AccountError(f"{message} (or MUSTER_INSECURE=1)")
    return url.rstrip("/")


def check_key(key: str) -> str:
    """Return the key without spaces around it. Raises AccountError, without the key, if no header can carry the key."""
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or len(key) > 512:
        raise AccountError("not an API key: expected one line such as mst_key_…")
    return key


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
