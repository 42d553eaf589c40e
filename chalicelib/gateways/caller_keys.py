"""The API keys of callers, as gateways need them: digests and limits, and no secret."""

from __future__ import annotations

from chalicelib.auth import tokens
from chalicelib.store import paging
from chalicelib.store.items import find_all
from chalicelib.store.tables import Credential
from muster.api import gateways as g

CACHE_SECONDS = 2.0


class CallerKeys:
    """The keys as this process last read them; a key that this process made or revoked is seen at once.

    A key never changes. So what is listed is read each time, and of the keys those that are new.
    """

    def __init__(self) -> None:
        self._read_at = float("-inf")
        self._change = -1
        self._callers: list[g.Caller] = []

    def current(self, now: float, *, fresh: bool = False) -> list[g.Caller]:
        """`now`: epoch seconds. `fresh`: as of now, and not of up to CACHE_SECONDS ago.

        A key that has expired stays in the list, since gateways look at the time.
        """
        change = tokens.CALLERS_CHANGED.count
        if change != self._change:
            self._callers = []
        if fresh or change != self._change or not 0 <= now - self._read_at < CACHE_SECONDS:
            self._callers, self._read_at, self._change = _read(self._callers), now, change
        return self._callers


SHARED = CallerKeys()
"""This process's."""


def current(now: float, *, fresh: bool = False) -> list[g.Caller]:
    return SHARED.current(now, fresh=fresh)


def _read(before: list[g.Caller]) -> list[g.Caller]:
    """The keys that are listed, oldest first. Of those before, nothing is read but that they are listed."""
    known = {caller.key_id: caller for caller in before}
    listed = list(paging.ids(Credential, tokens.CALLER))
    new = find_all(Credential, [key_id for key_id in listed if key_id not in known])
    known |= {str(item.credential_id): _caller(item) for item in new}
    return [known[key_id] for key_id in listed if key_id in known]


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
