"""How many may wait for workers at once: each holds a function for up to 25 seconds, and heartbeats need functions.

In Lambda no process sees another, so who waits is a set in one item: a word for each, which begins with the second at
which it runs out by itself, for a function that was killed. Adding one is a write on condition of the set's size, and
taking one out is harmless to repeat; whoever finds the set full clears what ran out first. Heartbeats never come here.
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

GRACE = 10.0
"""Seconds beyond the wait that a function may need before it is done."""


@contextmanager
def place(seconds: float, now: float, most: int = settings.MAX_WAITS) -> Iterator[bool]:
    """Whether one more may wait for `seconds`; its place is kept inside."""
    word = f"{now + seconds + GRACE:.3f} {uuid.uuid4()}"
    kept = seconds > 0 and (_take(word, most) or (_clear(now) and _take(word, most)))
    try:
        yield kept
    finally:
        if kept:
            with suppress(PynamoDBException):  # the answer is there, and the place runs out by itself
                Waits().update(actions=[Waits.words.delete({word})])


def _take(word: str, most: int) -> bool:
    has_room = Waits.words.does_not_exist() | (size(Waits.words) < most)
    return most > 0 and update_if(Waits(), [Waits.words.add({word})], has_room)


def _clear(now: float) -> bool:
    """Take out what ran out; whether there was any."""
    found = find(Waits, Waits.KEY)
    over = {word for word in (found.words or () if found else ()) if float(word.partition(" ")[0]) < now}
    if over:
        Waits().update(actions=[Waits.words.delete(over)])
    return bool(over)
