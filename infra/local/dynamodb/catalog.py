"""The operations about tables: CreateTable, DescribeTable, ListTables, DeleteTable, and those of time to live."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from infra.local.dynamodb.reads import Answer, Request, Tables
from infra.local.dynamodb.refusals import Refused, invalid, no_table
from infra.local.dynamodb.table import Table

NAME = re.compile(r"[a-zA-Z0-9_.-]{3,255}")
MAX_LISTED = 100


def create_table(tables: Tables, request: Request, make: Callable[[Request], Table]) -> Answer:
    """`make` makes the table, with what is on disk."""
    name = request["TableName"]
    if not NAME.fullmatch(name):
        raise invalid(
            "TableName must be at least 3 characters long and at most 255 characters long, "
            "and contain only a-z, A-Z, 0-9, '_', '-', and '.'"
        )
    if name in tables:
        raise Refused("ResourceInUseException", f"Table already exists: {name}")
    if request.get("LocalSecondaryIndexes"):
        raise invalid("the embedded database has no local secondary indexes")
    table = make(request)
    unused = {one["AttributeName"] for one in request["AttributeDefinitions"]}
    unused -= {*table.schema.names, *table.index_names}
    if unused:
        raise invalid(
            "One or more parameter values were invalid: Some AttributeDefinitions are not used. "
            f"AttributeDefinitions: [{', '.join(sorted(unused))}]"
        )
    tables[name] = table
    return {"TableDescription": describe(table)}


def describe_table(tables: Tables, request: Request) -> Answer:
    return {"Table": describe(_table(tables, request))}


def describe(table: Table) -> dict[str, Any]:
    """A table as DescribeTable shows it."""
    request = table.request
    described: dict[str, Any] = {
        "TableName": table.name,
        "TableStatus": "ACTIVE",
        "TableArn": f"arn:aws:dynamodb:us-east-1:000000000000:table/{table.name}",
        "KeySchema": request["KeySchema"],
        "AttributeDefinitions": request["AttributeDefinitions"],
        "ItemCount": len(table.rows),
        "TableSizeBytes": sum(row.size for row in table.rows.values()),
        "ProvisionedThroughput": {"NumberOfDecreasesToday": 0, "ReadCapacityUnits": 0, "WriteCapacityUnits": 0},
    }
    if request.get("BillingMode") == "PAY_PER_REQUEST":
        described["BillingModeSummary"] = {"BillingMode": "PAY_PER_REQUEST"}
    if request.get("GlobalSecondaryIndexes"):
        described["GlobalSecondaryIndexes"] = [
            {name: index[name] for name in ("IndexName", "KeySchema", "Projection")} | {"IndexStatus": "ACTIVE"}
            for index in request["GlobalSecondaryIndexes"]
        ]
    return described


def list_tables(tables: Tables, request: Request) -> Answer:
    after, limit = request.get("ExclusiveStartTableName", ""), request.get("Limit", MAX_LISTED)
    names = sorted(name for name in tables if name > after)
    answer: Answer = {"TableNames": names[:limit]}
    if len(names) > limit:
        answer["LastEvaluatedTableName"] = names[limit - 1]
    return answer


def update_time_to_live(tables: Tables, request: Request) -> Answer:
    table, wanted = _table(tables, request), request["TimeToLiveSpecification"]
    name = wanted["AttributeName"]
    if wanted["Enabled"] == (table.time_to_live is not None):
        raise invalid(f"TimeToLive is already {'enabled' if wanted['Enabled'] else 'disabled'}")
    if not wanted["Enabled"] and name != table.time_to_live:
        raise invalid(
            f"TimeToLive is active on a different AttributeName: current AttributeName is {table.time_to_live}"
        )
    table.expire_by(name if wanted["Enabled"] else None)
    return {"TimeToLiveSpecification": wanted}


def describe_time_to_live(tables: Tables, request: Request) -> Answer:
    name = _table(tables, request).time_to_live
    if name is None:
        return {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}
    return {"TimeToLiveDescription": {"TimeToLiveStatus": "ENABLED", "AttributeName": name}}


def _table(tables: Tables, request: Request) -> Table:
    name = request["TableName"]
    if name not in tables:
        raise no_table(name)
    return tables[name]
