"""Writes beyond the cases that all engines answer: rows are replaced, and a transaction is all or nothing."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local.dynamodb import Engine
from infra.local.dynamodb.attributes import size_of_item
from infra.local.dynamodb.writes import Change
from tests.fixtures.embedded_client import client_of, thing


def test_an_item_that_was_read_stays_as_it_was_when_another_is_in_its_place() -> None:
    client = client_of(Engine())
    client.put_item(TableName="things", Item=thing("a", n={"N": "1"}))
    before = client.get_item(TableName="things", Key=thing("a"))["Item"]
    client.update_item(
        TableName="things",
        Key=thing("a"),
        UpdateExpression="SET n = n + :one, l = :l",
        ExpressionAttributeValues={":one": {"N": "1"}, ":l": {"L": []}},
    )
    assert before == thing("a", n={"N": "1"})


def test_the_size_of_a_row_is_kept_with_each_update() -> None:
    engine = Engine()
    client = client_of(engine)
    for expression, values in (
        ("SET a = :a, m = :m", {":a": {"S": "text"}, ":m": {"M": {"deep": {"N": "123"}}}}),
        ("SET m.deep = :a REMOVE a", {":a": {"S": "longer than before"}}),
        ("ADD n :n", {":n": {"N": "99"}}),
        ("ADD n :n", {":n": {"N": "1"}}),
        ("REMOVE m, n", {}),
    ):
        more = {"ExpressionAttributeValues": values} if values else {}
        client.update_item(TableName="things", Key=thing("a"), UpdateExpression=expression, **more)
        row = engine.tables["things"].rows["a", "x"]
        assert row.size == size_of_item(row.item)


def test_nothing_of_a_transaction_is_applied_before_all_of_it_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine()
    client = client_of(engine)
    applied: list[list[Change]] = []
    monkeypatch.setattr(engine, "apply", applied.append)
    put: dict[str, Any] = {"Put": {"TableName": "things", "Item": thing("a")}}
    check = {
        "ConditionCheck": {"TableName": "things", "Key": thing("b"), "ConditionExpression": "attribute_exists(id)"}
    }
    with pytest.raises(ClientError, match="TransactionCanceled"):
        client.transact_write_items(TransactItems=[put, check])
    assert applied == []
    client.transact_write_items(TransactItems=[put])
    assert [[change.key for change in changes] for changes in applied] == [[("a", "x")]]


@pytest.mark.parametrize("name", ["Expected", "AttributeUpdates"])
def test_parameters_from_before_there_were_expressions_are_refused(client: Any, name: str) -> None:
    with pytest.raises(ClientError, match="does not know the parameter"):
        client._make_api_call("UpdateItem", {"TableName": "things", "Key": thing("a"), name: {}})
