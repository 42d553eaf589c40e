"""Tables are made, described, listed, and removed; a removed one leaves nothing on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local.dynamodb import Engine
from infra.local.store import Store
from tests.fixtures.embedded_client import TABLE, client_of, thing


def test_a_table_is_described_as_it_was_made(client: Any) -> None:
    client.put_item(TableName="things", Item=thing("a"))
    described = client.describe_table(TableName="things")["Table"]
    assert described["KeySchema"] == TABLE["KeySchema"] and described["TableStatus"] == "ACTIVE"
    assert described["ItemCount"] == 1
    assert [index["IndexName"] for index in described["GlobalSecondaryIndexes"]] == ["kinds"]


def test_tables_are_listed_page_by_page(client: Any) -> None:
    client.create_table(**{**TABLE, "TableName": "others"})
    page = client.list_tables(Limit=1)
    assert page == {"TableNames": ["others"], "LastEvaluatedTableName": "others"}
    assert client.list_tables(ExclusiveStartTableName="others") == {"TableNames": ["things"]}


def test_a_removed_table_is_gone_from_the_disk_too(path: Path) -> None:
    store = Store(path)
    client = client_of(Engine(store))
    client.put_item(TableName="things", Item=thing("a"))
    client.delete_table(TableName="things")
    assert list(store.items("things")) == []
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.describe_table(TableName="things")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, "ResourceInUseException"),
        ({"TableName": "a"}, "ValidationException"),
        ({"TableName": "new", "LocalSecondaryIndexes": [{}]}, "ValidationException"),
        ({"TableName": "new", "GlobalSecondaryIndexes": []}, "ValidationException"),
        ({"TableName": "new", "KeySchema": [{"AttributeName": "x", "KeyType": "HASH"}]}, "ValidationException"),
    ],
)
def test_what_dynamodb_would_not_make_is_refused(client: Any, change: dict[str, Any], code: str) -> None:
    with pytest.raises(ClientError, match=code):
        client._make_api_call("CreateTable", {**TABLE, **change})


def test_time_to_live_is_one_attribute(client: Any) -> None:
    told = client.describe_time_to_live(TableName="things")["TimeToLiveDescription"]
    assert told == {"TimeToLiveStatus": "ENABLED", "AttributeName": "ends"}
    again = {"Enabled": True, "AttributeName": "ends"}
    with pytest.raises(ClientError, match="already enabled"):
        client.update_time_to_live(TableName="things", TimeToLiveSpecification=again)
    client.update_time_to_live(TableName="things", TimeToLiveSpecification={**again, "Enabled": False})
    told = client.describe_time_to_live(TableName="things")["TimeToLiveDescription"]
    assert told == {"TimeToLiveStatus": "DISABLED"}
