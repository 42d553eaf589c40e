"""The data stack: tables as the models describe them, and what keeps them from being lost."""

from __future__ import annotations

from chalicelib.store.tables import MODELS, expires
from infra.cloud.data import indexes_of, table_of, template

EXPIRING = {"commands", "operations", "events"}


def test_the_data_outlives_its_stack() -> None:
    stack = template("prod")
    assert {name: each["Type"] for name, each in stack["Resources"].items()} == {
        table_of(model).title(): "AWS::DynamoDB::Table" for model in MODELS
    }
    for each in stack["Resources"].values():
        table = each["Properties"]
        assert each["DeletionPolicy"] == each["UpdateReplacePolicy"] == "Retain"
        assert table["BillingMode"] == "PAY_PER_REQUEST" and table["DeletionProtectionEnabled"]
        assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert table["SSESpecification"] == {"SSEEnabled": True}


def test_items_expire_in_the_tables_whose_models_have_a_time_to_live() -> None:
    stack = template("prod")
    for each in stack["Resources"].values():
        table = each["Properties"]
        is_expiring = table["TableName"].removeprefix("muster-prod-") in EXPIRING
        ttl = {"AttributeName": "ttl", "Enabled": True} if is_expiring else None
        assert table.get("TimeToLiveSpecification") == ttl
    assert {table_of(model) for model in MODELS if expires(model)} == EXPIRING


def test_keys_and_indexes_are_as_the_models_say() -> None:
    stack = template("prod")
    for model in MODELS:
        table = stack["Resources"][table_of(model).title()]["Properties"]
        assert [each["IndexName"] for each in table.get("GlobalSecondaryIndexes", [])] == indexes_of(model)
        for keys in [table, *table.get("GlobalSecondaryIndexes", [])]:
            assert [each["KeyType"] for each in keys["KeySchema"]] in (["HASH"], ["HASH", "RANGE"])
    commands = stack["Resources"]["Commands"]["Properties"]["KeySchema"]
    assert [each["AttributeName"] for each in commands] == ["worker_id", "slot"]


def test_the_application_is_told_what_the_tables_names_begin_with() -> None:
    stack = template("staging")
    assert stack["Outputs"]["TablePrefix"]["Value"] == "muster-staging-"
    for each in stack["Resources"].values():
        assert each["Properties"]["TableName"].startswith("muster-staging-")
