"""A row reads the same with its item as dictionaries or as JSON, and only the last used ones are dictionaries."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pytest

from infra.local.dynamodb import Engine
from infra.local.dynamodb.attributes import Item, size_of_item
from infra.local.dynamodb.rows import Row, UnpackedRows
from infra.local.dynamodb.stored_items import encoded
from infra.local.store import Store
from tests.fixtures.embedded_client import client_of, everything, thing


def row(number: int) -> Row:
    item: Item = {"id": {"S": str(number)}, "blob": {"B": b"\xff"}}
    return Row(item, size_of_item(item))


def test_the_row_that_is_unpacked_for_longest_is_packed_and_reads_the_same() -> None:
    unpacked = UnpackedRows(2)
    rows = [row(number) for number in range(3)]
    items = [one.item for one in rows]
    for one in rows:
        one.on_disk(encoded(one.item), unpacked)
    assert rows[1].item is items[1] and rows[2].item is items[2]
    again = rows[0].item
    assert again == items[0] and again is not items[0]
    assert rows[0].item is again, "it is unpacked once"
    assert rows[1].item is not items[1], "and another one is packed for it"


@pytest.fixture
def packing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An engine over a file that packs every row at once."""
    monkeypatch.setattr("infra.local.dynamodb.engine.UnpackedRows", lambda: UnpackedRows(1))
    return Engine(Store(tmp_path / "items.sqlite3"))


def test_what_is_packed_is_updated_queried_and_deleted_as_what_is_not(packing: Any) -> None:
    client = client_of(packing)
    for number in range(20):
        kind = {"S": "even" if number % 2 == 0 else "odd"}
        client.put_item(TableName="things", Item=thing(str(number), kind=kind, n={"N": str(number)}))
    for number in range(0, 20, 4):
        client.update_item(
            TableName="things",
            Key=thing(str(number)),
            UpdateExpression="SET kind = :odd ADD n :one",
            ConditionExpression="kind = :even",
            ExpressionAttributeValues={":odd": {"S": "odd"}, ":even": {"S": "even"}, ":one": {"N": "1"}},
        )
    client.delete_item(TableName="things", Key=thing("19"))
    found = client.query(
        TableName="things",
        IndexName="kinds",
        KeyConditionExpression="kind = :odd",
        ExpressionAttributeValues={":odd": {"S": "odd"}},
    )
    assert {item["id"]["S"] for item in found["Items"]} == {*map(str, range(1, 19, 2)), *map(str, range(0, 20, 4))}
    assert everything(client)["4", "x"]["n"] == {"N": "5"}


def test_most_of_what_is_on_disk_is_no_dictionaries(packing: Any) -> None:
    client = client_of(packing)
    for number in range(200):
        client.put_item(TableName="things", Item=thing(str(number), marker={"S": "of this test"}))
    gc.collect()
    alive = sum(isinstance(one, dict) and one.get("marker") == {"S": "of this test"} for one in gc.get_objects())
    assert alive < 20
    rows = packing.tables["things"].rows.values()
    assert all(json.loads(one._stored)["marker"] == {"S": "of this test"} for one in rows)
