"""Reads beyond the cases that all engines answer: parameters that ours refuses, and the cost of a query."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local.dynamodb import Engine
from infra.local.dynamodb.table import Table
from tests.fixtures.embedded_client import client_of, thing


@pytest.mark.parametrize(
    ("operation", "more"),
    [
        ("GetItem", {"Key": thing("a"), "AttributesToGet": ["id"]}),
        ("Query", {"KeyConditions": {}}),
        ("Scan", {"ScanFilter": {}}),
    ],
)
def test_parameters_from_before_there_were_expressions_are_refused(
    client: Any, operation: str, more: dict[str, Any]
) -> None:
    with pytest.raises(ClientError, match="does not know the parameter"):
        client._make_api_call(operation, {"TableName": "things", **more})


class CountedRows(dict[Any, Any]):
    """Counts the rows that are looked at."""

    looked = 0

    def __getitem__(self, key: Any) -> Any:
        self.looked += 1
        return super().__getitem__(key)


def test_a_query_looks_at_its_own_items_alone() -> None:
    engine = Engine()
    client = client_of(engine)
    for number in range(200):
        kind = {"S": "rare" if number < 3 else "common"}
        client.put_item(TableName="things", Item=thing(f"{number % 20}", f"{number:03}", kind=kind))
    table: Table = engine.tables["things"]
    table.rows = rows = CountedRows(table.rows)
    key = {"KeyConditionExpression": "id = :v AND part > :p"}
    values = {":v": {"S": "7"}, ":p": {"S": "100"}}
    found = client.query(TableName="things", **key, ExpressionAttributeValues=values)
    assert found["Count"] == rows.looked == 5
    rows.looked = 0
    of_index = {"IndexName": "kinds", "KeyConditionExpression": "kind = :v"}
    found = client.query(TableName="things", **of_index, ExpressionAttributeValues={":v": {"S": "rare"}})
    assert found["Count"] == rows.looked == 3
