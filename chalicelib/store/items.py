"""Reading and writing items: consistently, on conditions, in transactions.

Whatever several items must agree on is one transaction; whatever may be read in between is a conditional write. A
condition that does not hold is an answer, not an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from pynamodb.exceptions import DeleteError, PutError, TransactWriteError, UpdateError
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action
from pynamodb.models import Model
from pynamodb.transactions import TransactWrite

from chalicelib.store.tables import connection

M = TypeVar("M", bound=Model)
T = TypeVar("T")
R = TypeVar("R")
MAX_KEY_BYTES = 1024
"""Bytes that DynamoDB allows in a range key."""


def find(model: type[M], hash_key: str, range_key: str | None = None) -> M | None:
    """The item as it is now (a consistent read), or None; also where the key is one that no item can have."""
    if not _may_exist((hash_key, range_key)):
        return None
    try:
        return model.get(hash_key, range_key, consistent_read=True)
    except model.DoesNotExist:
        return None


def find_all(
    model: type[M], keys: Iterable[str | tuple[str, str]], attributes: Sequence[str] | None = None
) -> Iterator[M]:
    """Those of the items that exist, in no order; a consistent read of up to 100 at a time.

    `attributes` are the stored names that they are made of, by default all.
    """
    possible = [key for key in keys if _may_exist(key if isinstance(key, tuple) else (key,))]
    found = model.batch_get(possible, consistent_read=True, attributes_to_get=attributes) if possible else ()
    return iter(found)


def _may_exist(key: tuple[str | None, ...]) -> bool:
    return all(0 < len(part.encode("utf-8", "replace")) <= MAX_KEY_BYTES for part in key if part is not None)


def update_if(item: Model, actions: Sequence[Action], condition: Condition) -> bool:
    """Write on a condition; whether it held. The item then has its new values."""
    return held(lambda: item.update(actions=list(actions), condition=condition))


def put_if(item: Model, condition: Condition) -> bool:
    return held(lambda: item.save(condition=condition))


def delete_if(item: Model, condition: Condition) -> bool:
    return held(lambda: item.delete(condition=condition))


def held(write: Callable[[], object]) -> bool:
    """Whether the condition of a write held."""
    try:
        write()
    except (UpdateError, PutError, DeleteError) as error:
        if error.cause_response_code == "ConditionalCheckFailedException":
            return False
        raise
    return True


class TransactionConflict(Exception):
    """A condition of a transaction did not hold, or another transaction was in its way: read again and decide anew."""


def transact(build: Callable[[TransactWrite], object]) -> None:
    """All of what `build` adds, or nothing. Raises TransactionConflict."""
    try:
        with TransactWrite(connection=connection()) as transaction:
            build(transaction)
    except TransactWriteError as error:
        if error.cause_response_code in {"TransactionCanceledException", "TransactionConflictException"}:
            raise TransactionConflict from error
        raise


def retrying(attempt: Callable[[], Any], times: int = 8) -> Any:
    """Call `attempt`, which reads and then transacts, until it is not refused. Raises the last refusal."""
    for left in reversed(range(times)):
        try:
            return attempt()
        except TransactionConflict:
            if not left:
                raise
    raise AssertionError("unreachable: times is positive")


def side_by_side(act: Callable[[T], R], items: Iterable[T], threads: int) -> list[R]:
    """What `act` returns of each; in as many threads, or where one is enough in the caller's own."""
    if threads == 1:
        return [act(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor  # which a heartbeat does not need

    connection()  # made once, and not by each thread
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(act, items))


def grow(previous: float, now: float) -> int:
    """The next session, generation or inbox: never behind one given before an older database was restored."""
    return max(int(previous) + 1, int(now * 1000))
