"""The embedded database answers one request at a time, and what it answered is on disk."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local.dynamodb import Engine
from infra.local.dynamodb.rows import UnpackedRows
from infra.local.store import Change, Store
from tests.fixtures.embedded_client import client_of, everything, thing


class FullDisk(Store):
    """A store whose next writes fail while `full`."""

    full = False

    def apply(self, changes: Iterable[Change]) -> None:
        pages = self._connection.execute("PRAGMA page_count").fetchone()[0] if self.full else 1 << 30
        self._connection.execute(f"PRAGMA max_page_count = {pages}")
        filler = [("filler", str(number), b"x" * 4096) for number in range(1000)] if self.full else []
        super().apply([*filler, *changes])


def put(client: Any, *arguments: Any, **attributes: Any) -> None:
    client.put_item(TableName="things", Item=thing(*arguments, **attributes))


def add_one(client: Any, id_: str) -> None:
    client.update_item(
        TableName="things",
        Key=thing(id_),
        UpdateExpression="ADD n :one",
        ConditionExpression="attribute_not_exists(n) OR n >= :one",
        ExpressionAttributeValues={":one": {"N": "1"}},
    )


def after_restart(path: Path) -> dict[tuple[str, str], Any]:
    return everything(client_of(Engine(Store(path))))


def test_sixteen_threads_lose_no_update(client: Any) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: add_one(client, "counter"), range(320)))
    assert everything(client)["counter", "x"]["n"] == {"N": "320"}


def test_of_sixteen_conditional_creates_one_wins(client: Any) -> None:
    def create(n: int) -> bool:
        try:
            client.put_item(
                TableName="things", Item=thing("name", n={"N": str(n)}), ConditionExpression="attribute_not_exists(id)"
            )
            return True
        except client.exceptions.ConditionalCheckFailedException:
            return False

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(create, range(16))) == 1


def test_every_kind_of_value_comes_back(path: Path, client: Any) -> None:
    values: dict[str, Any] = {
        "n": {"N": "-12.5"},
        "b": {"B": b"\x00\xff"},
        "bs": {"BS": [b"\x00", b"\x01"]},
        "ss": {"SS": ["a", "b"]},
        "l": {"L": [{"B": b"\x02"}, {"M": {"deep": {"L": [{"BOOL": True}, {"NULL": True}]}}}]},
        "m": {"M": {"a": {"S": "ü"}, "b": {"B": b"\xfe"}}},
    }
    put(client, "one", **values)
    assert everything(client) == after_restart(path) == {("one", "x"): thing("one", **values)}


def test_updates_deletes_and_batches_survive(path: Path, client: Any) -> None:
    for id_ in ("updated", "deleted", "batch deleted"):
        put(client, id_)
    add_one(client, "updated")
    client.delete_item(TableName="things", Key=thing("deleted"))
    client.batch_write_item(
        RequestItems={
            "things": [{"PutRequest": {"Item": thing("batch")}}, {"DeleteRequest": {"Key": thing("batch deleted")}}]
        }
    )
    assert after_restart(path) == everything(client)
    assert {id_ for id_, _ in everything(client)} == {"updated", "batch"}


def test_a_transaction_survives_whole(path: Path, client: Any) -> None:
    put(client, "old")
    client.transact_write_items(
        TransactItems=[
            {"Put": {"TableName": "things", "Item": thing("new")}},
            {"Delete": {"TableName": "things", "Key": thing("old")}},
        ]
    )
    assert set(after_restart(path)) == {("new", "x")}


def test_a_transaction_that_fails_changes_nothing(path: Path, client: Any) -> None:
    put(client, "old", n={"N": "1"})
    before = everything(client)
    with pytest.raises(client.exceptions.TransactionCanceledException) as failed:
        client.transact_write_items(
            TransactItems=[
                {"Put": {"TableName": "things", "Item": thing("new")}},
                {
                    "Update": {
                        "TableName": "things",
                        "Key": thing("old"),
                        "UpdateExpression": "SET n = :two",
                        "ExpressionAttributeValues": {":two": {"N": "2"}},
                    }
                },
                {
                    "ConditionCheck": {
                        "TableName": "things",
                        "Key": thing("absent"),
                        "ConditionExpression": "attribute_exists(id)",
                    }
                },
            ]
        )
    codes = [reason["Code"] for reason in failed.value.response["CancellationReasons"]]
    assert codes == ["None", "None", "ConditionalCheckFailed"]
    assert everything(client) == after_restart(path) == before


def test_a_condition_that_fails_changes_nothing(path: Path, client: Any) -> None:
    put(client, "one", n={"N": "0"})
    before = everything(client)
    with pytest.raises(client.exceptions.ConditionalCheckFailedException):
        add_one(client, "one")
    assert everything(client) == after_restart(path) == before


def test_what_the_disk_refused_is_not_in_memory_either(path: Path) -> None:
    store = FullDisk(path)
    client = client_of(Engine(store))
    put(client, "one", n={"N": "1"})
    before = everything(client)
    store.full = True
    with pytest.raises(ClientError, match="InternalServerError"):
        add_one(client, "one")
    with pytest.raises(ClientError, match="InternalServerError"):
        put(client, "two")
    store.full = False
    assert everything(client) == after_restart(path) == before


def test_a_query_reads_its_own_key_in_order(client: Any) -> None:
    for id_ in ("a", "b"):
        for part in ("3", "1", "2"):
            put(client, id_, part)
    found = client.query(
        TableName="things",
        KeyConditionExpression="id = :a AND part > :one",
        ExpressionAttributeValues={":a": {"S": "a"}, ":one": {"S": "1"}},
        ScanIndexForward=False,
    )["Items"]
    assert found == [thing("a", "3"), thing("a", "2")]


def test_an_index_has_the_items_with_its_key_and_pages_through_them(client: Any) -> None:
    for number in range(5):
        put(client, str(number), kind={"S": "even" if number % 2 == 0 else "odd"})
    put(client, "none")
    pages = client.get_paginator("query").paginate(
        TableName="things",
        IndexName="kinds",
        KeyConditionExpression="kind = :even",
        ExpressionAttributeValues={":even": {"S": "even"}},
        PaginationConfig={"PageSize": 2},
    )
    assert [item["id"]["S"] for page in pages for item in page["Items"]] == ["0", "2", "4"]


def test_the_sweep_takes_what_has_ended(path: Path) -> None:
    engine = Engine(Store(path))
    client = client_of(engine)
    put(client, "ended", ends={"N": "999"})
    put(client, "lasts", ends={"N": "1001"})
    put(client, "endless")
    engine.sweep(1000.0)
    assert everything(client) == after_restart(path)
    assert {id_ for id_, _ in everything(client)} == {"lasts", "endless"}


def dictionaries() -> int:
    gc.collect()
    return sum(type(each) is dict for each in gc.get_objects())


def test_memory_does_not_grow_with_requests(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.local.dynamodb.engine.UnpackedRows", lambda: UnpackedRows(10))
    client = client_of(Engine(Store(path)))
    add_one(client, "counter")
    before = dictionaries()
    for _ in range(50):
        add_one(client, "counter")
        everything(client)
    assert dictionaries() < before + 50


def test_an_action_without_the_promise_is_refused(client: Any) -> None:
    with pytest.raises(NotImplementedError, match="ExecuteStatement"):
        client.execute_statement(Statement="DELETE FROM things WHERE id = 'a' AND part = 'x'")
