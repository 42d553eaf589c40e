"""Idempotency-Key: a repeated POST finds what the first one made (docs/protocol.md, Idempotency).

The record is written in the transaction that makes the resource, so that neither exists without the other. It ends
after 24 hours, also where DynamoDB has not deleted it yet: that may take days, and the embedded database never does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from pynamodb.transactions import TransactWrite

from chalicelib.store.items import TransactionConflict, find
from chalicelib.store.tables import Once
from muster.api.errors import ApiError
from muster.api.structs import Value

KEY_TTL_SECONDS = 86400.0


class Key(Value, frozen=True):
    """`id` names the caller, the route and the client's key; `body` is the digest of what was asked."""

    id: str
    body: str


def key_for(caller: str, route: str, header: str, body: bytes) -> Key:
    named = "\0".join((caller, route, header)).encode("utf-8", "surrogatepass")
    return Key("once#" + hashlib.sha256(named).hexdigest(), hashlib.sha256(body).hexdigest())


def remember(transaction: TransactWrite, key: Key | None, resource: str, now: float) -> None:
    if key:
        record = Once(key.id, body=key.body, resource=resource, ttl=int(now + KEY_TTL_SECONDS))
        transaction.save(record, condition=Once.key.does_not_exist() | (Once.ttl <= int(now)))


def made(key: Key | None, now: float) -> str | None:
    """The id of what this key made in the last 24 hours. Raises IDEMPOTENCY_MISMATCH when that was for another body."""
    record = find(Once, key.id) if key else None
    if record is None or key is None or record.ttl <= int(now):
        return None
    if record.body != key.body:
        raise ApiError("IDEMPOTENCY_MISMATCH", "this Idempotency-Key was used with another body; take a new key")
    return str(record.resource)


def run(key: Key | None, now: float, attempt: Callable[[], None]) -> str | None:
    """Do `attempt`, unless it was done under this key: then the id of what it made. Raises what `attempt` raises."""
    first = made(key, now)
    if first:
        return first
    try:
        attempt()
    except TransactionConflict:
        first = made(key, now)
        if not first:
            raise
    return first
