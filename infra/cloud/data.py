"""The data stack: a template made from the models in chalicelib/store/tables.py, so that a table is described once.

It is a stack of its own, which outlives the application: nothing in it is deleted with a stack, nor replaced by an
update, and each table says no to whoever asks DynamoDB itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import Any

from pynamodb.models import Model

from chalicelib.store.settings import TABLE_PREFIX
from chalicelib.store.tables import MODELS, TTL, expires
from infra.cloud.names import prefix

Json = dict[str, Any]


def template(stage: str) -> Json:
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"Muster, stage {stage}: its data. The application is a stack of its own.",
        "Resources": {table_of(model).title(): _table(model, stage) for model in MODELS},
        "Outputs": {"TablePrefix": {"Description": "What every table's name begins with", "Value": prefix(stage)}},
    }


def table_of(model: type[Model]) -> str:
    """Its name without a prefix."""
    name: str = model.Meta.table_name
    return name.removeprefix(TABLE_PREFIX)


def indexes_of(model: type[Model]) -> list[str]:
    return [index["index_name"] for index in _schema(model)["global_secondary_indexes"]]


def _table(model: type[Model], stage: str) -> Json:
    schema = _schema(model)
    properties: Json = {
        "TableName": prefix(stage) + table_of(model),
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": sorted(schema["attribute_definitions"], key=itemgetter("AttributeName")),
        "KeySchema": _key(schema["key_schema"]),
        "SSESpecification": {"SSEEnabled": True},
        "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
        "DeletionProtectionEnabled": True,
    }
    if schema["global_secondary_indexes"]:
        properties["GlobalSecondaryIndexes"] = [_index(index) for index in schema["global_secondary_indexes"]]
    if expires(model):
        properties["TimeToLiveSpecification"] = {"AttributeName": TTL, "Enabled": True}
    kept = {"DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}
    return {"Type": "AWS::DynamoDB::Table", **kept, "Properties": properties}


def _index(index: Json) -> Json:
    return {
        "IndexName": index["index_name"],
        "KeySchema": _key(index["key_schema"]),
        "Projection": index["projection"],
    }


def _key(schema: Iterable[Json]) -> list[Json]:
    """DynamoDB wants the hash key first."""
    elements = ({k: element[k] for k in ("AttributeName", "KeyType")} for element in schema)
    return sorted(elements, key=itemgetter("KeyType"))


def _schema(model: type[Model]) -> Json:
    """What PynamoDB would create the table with."""
    return dict(model._get_schema())
