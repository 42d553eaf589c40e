"""The last routes and ticket keys on disk, so that a gateway that starts while the control plane is away still serves.

The file contains secrets: models' keys of pinned addresses, and the keys of tickets. Only its owner reads it. It is
good for one gateway: the same control plane, API key, public URL, and selector. A file that is damaged, of another
release's format, or of another gateway is ignored, and the log has a line about it.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from muster.api.gateways import Routes
from muster.gateway.config import GatewayConfig
from muster.gateway.data_dir import write_privately

log = logging.getLogger(__name__)

VERSION = 1
MAX_FILE_BYTES = 64 * 1024 * 1024


class Kept(Struct):
    """`contact` is when the control plane last answered, in epoch seconds. `ticket_keys` are by version."""

    version: int
    gateway: str
    contact: float
    routes: Routes
    ticket_keys: dict[int, bytes]


class RouteFile:
    """`path` need not exist. Its methods may be called from any thread."""

    def __init__(self, path: Path, config: GatewayConfig) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._is_removed = False
        self._gateway = identity(config)

    def read(self) -> Kept | None:
        """What was kept for this gateway; None without anything that can be used."""
        try:
            if self._path.stat().st_size > MAX_FILE_BYTES:
                raise ValueError(f"more than {MAX_FILE_BYTES} bytes")
            kept = msgspec.json.decode(self._path.read_bytes(), type=Kept)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            log.warning("%s is ignored: it cannot be read (%s)", self._path, error)
            return None
        if kept.version != VERSION:
            log.warning("%s is ignored: its format is %s, and this release reads %s", self._path, kept.version, VERSION)
            return None
        if kept.gateway != self._gateway:
            log.warning("%s is ignored: it is of another control plane, key, URL, or selector", self._path)
            return None
        return kept

    def write(self, contact: float, routes: Routes, ticket_keys: Mapping[int, bytes]) -> None:
        """Keep the routes, unless they were removed. If the disk is full, the log has the error."""
        content = msgspec.json.encode(Kept(VERSION, self._gateway, contact, routes, dict(ticket_keys)))
        with self._lock:
            if self._is_removed:
                return
            try:
                write_privately(self._path, content)
            except OSError as error:
                log.error("the routes cannot be kept in %s: %s", self._path, error.strerror or error)

    def remove(self) -> None:
        """Forget the routes for good: the gateway's key was revoked."""
        with self._lock:
            self._is_removed = True
            try:
                self._path.unlink(missing_ok=True)
            except OSError as error:
                log.error("%s cannot be removed (%s): remove it, it contains keys", self._path, error.strerror)


def identity(config: GatewayConfig) -> str:
    """Whose file it is. It is a digest, because the API key is a part of it."""
    parts = (config.control_plane, config.key, config.url, config.selector_text or "")
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()
