"""Items: read as they are now, written on conditions, and changed together or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynamodb.transactions import TransactWrite

from chalicelib.store import items
from chalicelib.store.items import TransactionConflict
from chalicelib.store.tables import Brake, Waits, WorkerName
from tests.fixtures.database import Recorder


def brake(until: float) -> Brake:
    return Brake("sweep", part="brake", until=until)


def test_an_item_that_is_not_there_is_none(database: Recorder) -> None:
    assert items.find(Waits, "nothing") is None
    assert items.find(Brake, "sweep", "brake") is None


@pytest.mark.parametrize("key", ["", "x" * 1025, "é" * 513])
def test_a_key_that_no_item_can_have_is_not_asked_for(database: Recorder, key: str) -> None:
    with database.counting() as calls:
        assert items.find(Waits, key) is None
        assert items.find(Brake, "sweep", key) is None
        assert list(items.find_all(WorkerName, [(key, "name")])) == []
        assert list(items.find_all(Waits, [key])) == []
    assert calls == []


def test_what_was_written_is_read_at_once(database: Recorder) -> None:
    brake(5).save()
    with database.counting() as calls:
        found = items.find(Brake, "sweep", "brake")
    assert found is not None and found.until == 5
    assert [call["ConsistentRead"] for _, call in calls] == [True]


def test_of_many_those_that_exist_are_found(database: Recorder) -> None:
    for number in range(150):
        WorkerName(f"name#{number}", owner=str(number)).save()
    with database.counting() as calls:
        found = list(items.find_all(WorkerName, [(f"name#{number}", "name") for number in range(100, 200)]))
    assert {name.owner for name in found} == {str(number) for number in range(100, 150)}
    assert [one["ConsistentRead"] for _, call in calls for one in call["RequestItems"].values()] == [True]


def test_a_condition_that_does_not_hold_is_an_answer(database: Recorder) -> None:
    item = brake(5)
    assert items.put_if(item, Brake.key.does_not_exist())
    assert not items.put_if(brake(6), Brake.key.does_not_exist())
    assert not items.update_if(item, [Brake.until.set(7)], Brake.until == 6)
    assert items.update_if(item, [Brake.until.set(7)], Brake.until == 5)
    assert item.until == 7, "the item has its new values"
    assert not items.delete_if(item, Brake.until == 5)
    assert items.delete_if(item, Brake.until == 7)
    assert items.find(Brake, "sweep", "brake") is None


def test_a_transaction_is_all_or_nothing(database: Recorder) -> None:
    WorkerName("name#taken", owner="somebody").save()

    def build(transaction: TransactWrite) -> None:
        transaction.save(brake(5))
        transaction.save(WorkerName("name#taken", owner="me"), condition=WorkerName.key.does_not_exist())

    with pytest.raises(TransactionConflict):
        items.transact(build)
    assert items.find(Brake, "sweep", "brake") is None
    found = items.find(WorkerName, "name#taken", "name")
    assert found is not None and found.owner == "somebody"


def test_what_is_refused_is_tried_again_until_it_is_not() -> None:
    refusals = [TransactionConflict(), TransactionConflict()]

    def attempt() -> str:
        if refusals:
            raise refusals.pop()
        return "done"

    assert items.retrying(attempt) == "done"
    assert refusals == []


def test_what_is_refused_again_and_again_is_given_up() -> None:
    tried: list[int] = []

    def attempt() -> None:
        tried.append(1)
        raise TransactionConflict

    with pytest.raises(TransactionConflict):
        items.retrying(attempt, times=3)
    assert len(tried) == 3


def test_what_fails_otherwise_is_not_tried_again() -> None:
    tried: list[int] = []

    def attempt() -> None:
        tried.append(1)
        raise ValueError

    with pytest.raises(ValueError):
        items.retrying(attempt)
    assert len(tried) == 1


@given(st.integers(0, 2**53), st.floats(0, 2**40))
def test_a_number_grows_and_is_never_behind_the_clock(previous: int, now: float) -> None:
    grown = items.grow(previous, now)
    assert grown > previous and grown >= int(now * 1000)
    assert grown in (previous + 1, int(now * 1000))
