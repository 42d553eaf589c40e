"""An update whose expressions are written once. PynamoDB writes the expressions of each update anew.

This pays for a heartbeat alone, which is one update of one of a few shapes: its expressions took a tenth of its
processor time (docs/adr/0044). Every other write is `items.update_if`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from pynamodb.attributes import Attribute
from pynamodb.connection.base import BOTOCORE_EXCEPTIONS
from pynamodb.constants import ALL_NEW
from pynamodb.exceptions import UpdateError
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action, Update
from pynamodb.models import Model

from chalicelib.store.items import held


class Parameter(str):
    """The name of a value in `PreparedUpdate.run`."""


def parameter(attribute: Attribute[Any], name: str) -> Any:
    """What stands in an expression for a value of the attribute's type. PynamoDB takes it for a serialized value."""
    return {attribute.attr_type: Parameter(name)}


class PreparedUpdate:
    """`actions` on a `condition`, either with parameters in the place of values: texts, bytes, or numbers."""

    def __init__(self, actions: Sequence[Action], condition: Condition) -> None:
        placeholders: dict[str, str] = {}
        self._values: dict[str, Any] = {}
        self._expressions = {
            "ConditionExpression": condition.serialize(placeholders, self._values),
            "UpdateExpression": Update(*actions).serialize(placeholders, self._values),
            "ExpressionAttributeNames": {placeholder: name for name, placeholder in placeholders.items()},
        }

    def run(self, item: Model, **given: Any) -> bool:
        """Write on the condition; whether it held. The item then has its new values."""
        return held(lambda: self._run(item, given))

    def _run(self, item: Model, given: dict[str, Any]) -> None:
        table = item._get_connection()
        key = table.connection.get_identifier_map(table.table_name, *item._get_hash_range_key_serialized_values())
        request = {
            "TableName": table.table_name,
            **key,
            **self._expressions,
            "ExpressionAttributeValues": dict(self._filled(given)),
            "ReturnValues": ALL_NEW,
        }
        try:
            answer = table.connection.dispatch("UpdateItem", request)
        except BOTOCORE_EXCEPTIONS as error:
            raise UpdateError(f"Failed to update item: {error}", error) from error
        item.deserialize(answer["Attributes"])

    def _filled(self, given: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        for placeholder, written in self._values.items():
            ((kind, value),) = written.items()
            if isinstance(value, Parameter):
                value = given[value]
                written = {kind: json.dumps(value) if kind == "N" else value}
            yield placeholder, written
