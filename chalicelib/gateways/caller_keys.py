"""The API keys of callers, as gateways need them: digests and limits, and no secret."""

from __future__ import annotations

from chalicelib.auth import tokens
from chalicelib.store import paging
from chalicelib.store.tables import Credential
from muster.api import gateways as g
from muster.api import resources as r

CACHE_SECONDS = 2.0


class CallerKeys:
    """The keys as this process last read them; a key that this process made or revoked is seen at once."""

    def __init__(self) -> None:
        self._read_at = float("-inf")
        self._change = -1
        self._callers: list[g.Caller] = []

    def current(self, now: float) -> list[g.Caller]:
        """`now`: epoch seconds. A key that has expired stays in the list, since gateways look at the time."""
        change = tokens.CALLERS_CHANGED.count
        if change != self._change or not 0 <= now - self._read_at < CACHE_SECONDS:
            self._callers, self._read_at, self._change = _read(), now, change
        return self._callers


SHARED = CallerKeys()
"""This process's."""


def current(now: float) -> list[g.Caller]:
    return SHARED.current(now)


def _read() -> list[g.Caller]:
    found: list[g.Caller] = []
    query = r.PageQuery(limit=r.MAX_PAGE)
    while True:
        items, query.next_token = paging.page(Credential, tokens.CALLER, query)
        found += [_caller(item) for item in items]
        if query.next_token is None:
            return found


def _caller(item: Credential) -> g.Caller:
    limits = tokens.limits_of(item)
    return g.Caller(
        str(item.credential_id),
        bytes(item.digest).hex(),
        item.name or "",
        limits.models,
        limits.rpm,
        limits.tpm,
        limits.tpd,
        float(item.expires_at) if item.expires_at else None,
    )
