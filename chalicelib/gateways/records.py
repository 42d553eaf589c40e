"""The gateways that registered lately.

    registered ──► renewed every 30 s ──► silent for 5 minutes, said goodbye, or its key was revoked ──► gone

A process keeps the list for up to a minute, so that workers' requests rarely pay for it.
"""

from __future__ import annotations

import hashlib
import uuid

from chalicelib.auth.tokens import Principal
from chalicelib.gateways import selectors, ticket_keys
from chalicelib.store import paging
from chalicelib.store.items import delete_if, find, find_all
from chalicelib.store.tables import Credential, GatewayRecord
from chalicelib.store.times import when
from muster.api import gateways as g
from muster.api import resources as r
from muster.api.errors import ApiError

RENEW_SECONDS = 30.0
GONE_SECONDS = 300.0
CACHE_SECONDS = 60.0
MAX_GATEWAYS = 100
"""Gateways that are listed; each worker dials them all."""


class GatewayCache:
    """The gateways as this process last read them."""

    def __init__(self, seconds: float = CACHE_SECONDS) -> None:
        self._seconds = seconds
        self._read_at = float("-inf")
        self._records: list[GatewayRecord] = []

    def forget(self) -> None:
        """Read them again the next time."""
        self._read_at = float("-inf")

    def current(self, now: float) -> list[GatewayRecord]:
        """Those that are not gone. `now`: epoch seconds."""
        if not 0 <= now - self._read_at < self._seconds:
            self._records, self._read_at = listed(), now
        return [record for record in self._records if now - record.renewed_at < GONE_SECONDS]


CACHE = GatewayCache()
"""This process's."""


def register(body: g.GatewayRegistration, by: Principal, now: float) -> g.GatewayRegistered:
    """Register a gateway, or renew its registration. Raises INVALID_REQUEST for a URL that no worker could dial,
    and for a selector that is none.
    """
    url = body.url.rstrip("/")
    if "@" in url or "?" in url or "#" in url:
        raise ApiError("INVALID_REQUEST", "url: expected https://host[:port][/path], without user, query, or fragment")
    selectors.parsed(body.selector)
    record = GatewayRecord(
        record_key(by.id, url),
        rank=url,
        url=url,
        key_id=by.id,
        version=body.version,
        selector=body.selector,
        renewed_at=now,
    )
    known = find(GatewayRecord, record.credential_id)
    record.save()
    if known is None or known.selector != record.selector:
        CACHE.forget()
    keys = ticket_keys.of_gateway(by.id, now)
    return g.GatewayRegistered(gateway_id(record), keys, RENEW_SECONDS)


def say_goodbye(gateway_id: str, by: Principal) -> None:
    """The gateway ends. One that is not known, or another key's, has nothing to end."""
    record = find(GatewayRecord, _KEY + gateway_id)
    if record is not None and record.key_id == by.id:
        delete_if(record, GatewayRecord.key_id == by.id)
        CACHE.forget()


def forget_key(key_id: str) -> None:
    """The key was revoked: its gateways are gone."""
    for record in listed():
        if record.key_id == key_id:
            delete_if(record, GatewayRecord.key_id == key_id)
    CACHE.forget()


def listed() -> list[GatewayRecord]:
    """Every gateway whose key is good, whether or not it renewed its registration."""
    found, _ = paging.page(GatewayRecord, GatewayRecord.KIND, r.PageQuery(limit=MAX_GATEWAYS))
    keys = {str(key.credential_id) for key in find_all(Credential, {record.key_id for record in found})}
    return [record for record in found if record.key_id in keys]


def shown(now: float) -> g.GatewayList:
    """For operators."""
    current = [record for record in listed() if now - record.renewed_at < GONE_SECONDS]
    return g.GatewayList(
        [
            g.Gateway(
                gateway_id(record), record.url, record.version, record.key_id, when(record.renewed_at).isoformat()
            )
            for record in current
        ]
    )


_KEY = "gateway#"


def record_key(key_id: str, url: str) -> str:
    """A gateway is known by its API key and its URL: both are the same after a restart."""
    return _KEY + str(uuid.UUID(bytes=hashlib.sha256(f"{key_id} {url}".encode()).digest()[:16], version=4))


def gateway_id(record: GatewayRecord) -> str:
    return str(record.credential_id).removeprefix(_KEY)
