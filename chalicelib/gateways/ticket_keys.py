"""The master keys under which gateways' ticket keys are derived (muster/api/tickets.py).

none ──► made once, by whoever is first ──► after 30 days another version is added ──► the two newest are valid
"""

from __future__ import annotations

import base64
import secrets

import msgspec

from chalicelib.store.items import find, put_if, update_if
from chalicelib.store.tables import TicketMaster
from muster.api import gateways as g
from muster.api import tickets

ROTATE_SECONDS = 30 * 86400.0
VALID_VERSIONS = 2
CACHE_SECONDS = 60.0


class Masters:
    """The valid master keys by version, as this process last read them."""

    def __init__(self) -> None:
        self._read_at = float("-inf")
        self._keys: dict[int, bytes] = {}

    def forget(self) -> None:
        self._read_at = float("-inf")

    def current(self, now: float) -> dict[int, bytes]:
        """The oldest first. `now`: epoch seconds."""
        if not 0 <= now - self._read_at < CACHE_SECONDS:
            self._keys, self._read_at = _read(now), now
        return self._keys


MASTERS = Masters()
"""This process's."""


def of_gateway(key_id: str, now: float) -> list[g.TicketKey]:
    """The ticket keys that are valid for the gateway whose API key has that id."""
    return [g.TicketKey(version, tickets.derive(master, key_id)) for version, master in MASTERS.current(now).items()]


def newest(now: float) -> tuple[int, bytes]:
    """The version that tickets are signed with. One that gateways may not have yet is not used for a minute."""
    keys = MASTERS.current(now)
    return max(keys.items())


def _read(now: float) -> dict[int, bytes]:
    """The keys, made or rotated where it is time. Of several functions that do so at once, one does."""
    item = find(TicketMaster, TicketMaster.ID)
    if item is None:
        made = TicketMaster(TicketMaster.ID, keys=_write({1: secrets.token_bytes(32)}), made_at=now)
        put_if(made, TicketMaster.key.does_not_exist())
        item = find(TicketMaster, TicketMaster.ID)
        assert item is not None, "whoever was first has made it"
    keys = _parse(item)
    if now - item.made_at >= ROTATE_SECONDS:
        following = {**keys, max(keys) + 1: secrets.token_bytes(32)}
        kept = dict(sorted(following.items())[-VALID_VERSIONS:])
        actions = [TicketMaster.keys.set(_write(kept)), TicketMaster.made_at.set(now)]
        if not update_if(item, actions, TicketMaster.keys == item.keys):
            item = find(TicketMaster, TicketMaster.ID) or item
        keys = _parse(item)
    return keys


def _parse(item: TicketMaster) -> dict[int, bytes]:
    stored = msgspec.json.decode(item.keys, type=dict[str, str])
    return {int(version): base64.b64decode(key) for version, key in sorted(stored.items(), key=lambda kv: int(kv[0]))}


def _write(keys: dict[int, bytes]) -> str:
    return msgspec.json.encode({str(version): base64.b64encode(key).decode() for version, key in keys.items()}).decode()
