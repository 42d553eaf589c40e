"""How many requests may wait for workers at once: each occupies a function for up to 25 seconds, and heartbeats need
functions.

In Lambda no process sees another, so the permits are a set in one item. A permit starts with the second at which it
expires, in case its function is killed. Adding a permit is a write on condition of the set's size, and removing one is
harmless to repeat. A request that finds the set full removes expired permits first. Heartbeats never come here.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pynamodb.exceptions import PynamoDBException
from pynamodb.expressions.condition import size

from chalicelib.store import settings
from chalicelib.store.items import find, update_if
from chalicelib.store.tables import Waits

GRACE_SECONDS = 10.0
"""Seconds beyond the wait that a function may need before it is done."""


@contextmanager
def permit(seconds: float, now: float, limit: int = settings.MAX_WAITS) -> Iterator[bool]:
    """Whether one more request may wait for `seconds`; its permit is held inside."""
    entry = f"{now + seconds + GRACE_SECONDS:.3f} {uuid.uuid4()}"
    granted = seconds > 0 and (_take(entry, limit) or (_remove_expired(now) and _take(entry, limit)))
    try:
        yield granted
    finally:
        if granted:
            with suppress(PynamoDBException):  # the response is ready, and the permit expires by itself
                Waits().update(actions=[Waits.permits.delete({entry})])


def _take(entry: str, limit: int) -> bool:
    has_room = Waits.permits.does_not_exist() | (size(Waits.permits) < limit)
    return limit > 0 and update_if(Waits(), [Waits.permits.add({entry})], has_room)


def _remove_expired(now: float) -> bool:
    """Remove permits that expired; returns whether there were any."""
    found = find(Waits, Waits.KEY)
    expired = {taken for taken in (found.permits or () if found else ()) if float(taken.partition(" ")[0]) < now}
    if expired:
        Waits().update(actions=[Waits.permits.delete(expired)])
    return bool(expired)
