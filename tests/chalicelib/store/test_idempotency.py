"""Idempotency-Key: what a repeated request finds, and whose key it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.store import idempotency
from chalicelib.store.idempotency import Key
from chalicelib.store.items import TransactionConflict, find, transact
from chalicelib.store.tables import Once
from muster.api.errors import ApiError
from tests.fixtures.database import Recorder

NOW = 1_800_000_000.0
KEY = Key("once#1", "a body")


def make(resource: str, key: Key | None = KEY, now: float = NOW) -> str | None:
    return idempotency.run(key, now, lambda: transact(lambda t: idempotency.remember(t, key, resource, now)))


def test_what_a_key_made_first_is_found_again(database: Recorder) -> None:
    assert idempotency.made(KEY, NOW) is None
    assert make("first") is None, "it was made now"
    assert make("second") == "first"
    assert idempotency.made(KEY, NOW) == "first"


def test_a_key_for_another_body_is_refused(database: Recorder) -> None:
    make("first")
    with pytest.raises(ApiError) as caught:
        make("second", Key(KEY.id, "another body"))
    assert caught.value.error_code == "IDEMPOTENCY_MISMATCH"


def test_without_a_key_nothing_is_remembered(database: Recorder) -> None:
    with database.counting() as calls:
        assert idempotency.run(None, NOW, lambda: None) is None
        assert idempotency.made(None, NOW) is None
    assert calls == []


def test_what_failed_does_not_spend_the_key(database: Recorder) -> None:
    def fail() -> None:
        raise ApiError("WORKER_NOT_FOUND", "why")

    with pytest.raises(ApiError):
        idempotency.run(KEY, NOW, fail)
    assert idempotency.made(KEY, NOW) is None


def test_a_twin_that_was_quicker_is_found(database: Recorder) -> None:
    def meets_its_twin() -> None:
        transact(lambda t: idempotency.remember(t, KEY, "the twin's", NOW))
        transact(lambda t: idempotency.remember(t, KEY, "mine", NOW))

    assert idempotency.run(KEY, NOW, meets_its_twin) == "the twin's"


def test_a_refusal_that_no_twin_explains_is_passed_on(database: Recorder) -> None:
    def refuse() -> None:
        raise TransactionConflict

    with pytest.raises(TransactionConflict):
        idempotency.run(KEY, NOW, refuse)


def test_a_key_is_kept_for_a_day(database: Recorder) -> None:
    make("first")
    record = find(Once, KEY.id)
    assert record is not None and record.ttl == NOW + 86400


def test_a_key_ends_after_its_day_although_nothing_deleted_its_record(database: Recorder) -> None:
    """DynamoDB takes days to delete what has expired, and the embedded database never does."""
    make("first")
    assert make("second", now=NOW + 86399) == "first"
    assert make("second", now=NOW + 86400) is None, "it was made now"
    assert make("third", now=NOW + 86401) == "second"
    assert make("third", Key(KEY.id, "another body"), now=NOW + 3 * 86400) is None, "a new day may have a new body"


@given(st.lists(st.text(max_size=3), min_size=4, max_size=4), st.integers(0, 3), st.text(max_size=3))
def test_a_key_is_of_its_caller_its_route_and_its_text(parts: list[str], index: int, other: str) -> None:
    before = [part.replace("\0", "") for part in parts]
    after = [*before]
    after[index] = other.replace("\0", "")
    key, again = (idempotency.key_for(each[0], each[1], each[2], each[3].encode()) for each in (before, after))
    assert (again == key) == (after == before)
    assert (again.id == key.id) == (after[:3] == before[:3])


def test_a_header_that_no_text_is_made_of_is_a_key_too() -> None:
    assert (
        idempotency.key_for("caller", "route", "\udcff", b"").id
        != idempotency.key_for("caller", "route", "\udcfe", b"").id
    )
