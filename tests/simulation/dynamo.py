"""DynamoDB in a dictionary, in the place of botocore's client: a call takes microseconds, so that seeds can be many.

It answers what PynamoDB asks as a real engine does; test_dynamo.py holds the two against each other, call by call.
Items are replaced and never changed, so that a snapshot is a copy of the dictionaries. `before` is told of every call,
and may raise in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from botocore.exceptions import ClientError

from chalicelib import tables
from tests.simulation import expressions
from tests.simulation.expressions import Attribute, Item

Request = dict[str, Any]
Key = tuple[Any, ...]
Rows = dict[Key, Item]


class Table:
    """Its rows by primary key, and the key attributes of each index."""

    def __init__(self, request: Request) -> None:
        self.keys = _key_names(request["KeySchema"])
        indexes = request.get("GlobalSecondaryIndexes", [])
        self.indexes = {index["IndexName"]: _key_names(index["KeySchema"]) for index in indexes}
        self.partitions: dict[Any, Rows] = {}

    def key(self, item: Item) -> Key:
        return tuple(_plain(item[name]) for name in self.keys)

    def get(self, key: Key) -> Item | None:
        return self.partitions.get(key[0], {}).get(key)

    def put(self, key: Key, item: Item | None) -> None:
        rows = self.partitions.setdefault(key[0], {})
        if item is None:
            rows.pop(key, None)
        else:
            rows[key] = item

    def every(self) -> Iterable[Item]:
        return [item for rows in self.partitions.values() for item in rows.values()]


class Dynamo:
    """`_make_api_call` is what PynamoDB calls of botocore's client, and all that it calls."""

    _request_signer = None

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {}
        self.before: Callable[[str], None] = lambda operation: None

    def connect(self) -> None:
        """Every model reaches this database from here on."""
        for model in tables.Item.__subclasses__():
            model._connection = None
        tables.connection()._client = self  # type: ignore[assignment]

    def snapshot(self) -> dict[str, dict[Any, Rows]]:
        return {name: {hash_: dict(rows) for hash_, rows in t.partitions.items()} for name, t in self.tables.items()}

    def restore(self, snapshot: dict[str, dict[Any, Rows]]) -> None:
        for name, partitions in snapshot.items():
            self.tables[name].partitions = {hash_: dict(rows) for hash_, rows in partitions.items()}

    def items(self, model: type[tables.Item]) -> Iterable[Item]:
        """As they are stored, everything in the model's table."""
        return self.tables[model.Meta.table_name].every()

    def empty(self) -> None:
        for table in self.tables.values():
            table.partitions = {}

    def _make_api_call(self, operation: str, request: Request) -> dict[str, Any]:
        self.before(operation)
        answer: dict[str, Any] = getattr(self, f"_{operation}")(request)
        return answer

    # Tables

    def _DescribeTable(self, request: Request) -> dict[str, Any]:
        if request["TableName"] not in self.tables:
            raise _error("ResourceNotFoundException", "DescribeTable")
        return {"Table": {"TableName": request["TableName"], "TableStatus": "ACTIVE"}}

    def _CreateTable(self, request: Request) -> dict[str, Any]:
        self.tables[request["TableName"]] = Table(request)
        return {}

    # One item

    def _GetItem(self, request: Request) -> dict[str, Any]:
        table = self.tables[request["TableName"]]
        found = table.get(table.key(request["Key"]))
        return {"Item": found} if found is not None else {}

    def _PutItem(self, request: Request) -> dict[str, Any]:
        return self._alone("PutItem", "Put", request)

    def _DeleteItem(self, request: Request) -> dict[str, Any]:
        return self._alone("DeleteItem", "Delete", request)

    def _UpdateItem(self, request: Request) -> dict[str, Any]:
        return self._alone("UpdateItem", "Update", request)

    def _alone(self, operation: str, kind: str, request: Request) -> dict[str, Any]:
        change = self._change(kind, request)
        if change is None:
            raise _error("ConditionalCheckFailedException", operation)
        table, key, item = change
        table.put(key, item)
        return {"Attributes": item} if request.get("ReturnValues") == "ALL_NEW" else {}

    def _change(self, kind: str, request: Request) -> tuple[Table, Key, Item | None] | None:
        """What a write does; None where its condition does not hold."""
        table = self.tables[request["TableName"]]
        key = table.key(request["Item"] if kind == "Put" else request["Key"])
        before = table.get(key)
        if not _holds(request.get("ConditionExpression"), before or {}, request):
            return None
        if kind == "Put":
            return table, key, request["Item"]
        if kind == "Update":
            values = request.get("ExpressionAttributeValues", {})
            make = expressions.update(request["UpdateExpression"])
            return table, key, make(before or request["Key"], request["ExpressionAttributeNames"], values)
        return table, key, before if kind == "ConditionCheck" else None

    # Several items

    def _TransactWriteItems(self, request: Request) -> dict[str, Any]:
        changes = [self._change(kind, each) for item in request["TransactItems"] for kind, each in item.items()]
        if None in changes:
            reasons = [{"Code": "None" if change else "ConditionalCheckFailed"} for change in changes]
            raise _error("TransactionCanceledException", "TransactWriteItems", CancellationReasons=reasons)
        for table, key, item in filter(None, changes):
            table.put(key, item)
        return {}

    def _BatchGetItem(self, request: Request) -> dict[str, Any]:
        responses: dict[str, list[Item]] = {}
        for name, wanted in request["RequestItems"].items():
            table = self.tables[name]
            found = (table.get(table.key(key)) for key in wanted["Keys"])
            responses[name] = [item for item in found if item is not None]
        return {"Responses": responses, "UnprocessedKeys": {}}

    def _BatchWriteItem(self, request: Request) -> dict[str, Any]:
        for name, writes in request["RequestItems"].items():
            table = self.tables[name]
            for write in writes:
                ((kind, body),) = write.items()
                item = body["Item"] if kind == "PutRequest" else None
                table.put(table.key(item or body["Key"]), item)
        return {"UnprocessedItems": {}}

    # Many items

    def _Query(self, request: Request) -> dict[str, Any]:
        table = self.tables[request["TableName"]]
        index = table.indexes.get(request.get("IndexName", ""))
        keys = index or table.keys
        fits = expressions.condition(request["KeyConditionExpression"])
        names, values = request["ExpressionAttributeNames"], request["ExpressionAttributeValues"]
        items = table.every() if index else self._partition(table, request)
        found = [item for item in items if all(key in item for key in keys) and fits(item, names, values)]
        order = [*keys[1:], *(name for name in table.keys if name not in keys)]
        found.sort(key=lambda item: [_plain(item[n]) for n in order], reverse=request.get("ScanIndexForward") is False)
        shown = (*keys, *table.keys) if index else None
        return _paged(table, found, request, [*dict.fromkeys((*table.keys, *keys))], shown)

    def _partition(self, table: Table, request: Request) -> Iterable[Item]:
        names, values = request["ExpressionAttributeNames"], request["ExpressionAttributeValues"]
        placeholder = next(name for name, attribute in names.items() if attribute == table.keys[0])
        terms = request["KeyConditionExpression"].replace("(", " ").replace(")", " ").split()
        return table.partitions.get(_plain(values[terms[terms.index(placeholder) + 2]]), {}).values()

    def _Scan(self, request: Request) -> dict[str, Any]:
        table = self.tables[request["TableName"]]
        if request.get("Segment", 0):
            return {"Items": [], "Count": 0, "ScannedCount": 0}
        names = request.get("ExpressionAttributeNames", {})
        projected = request.get("ProjectionExpression")
        shown = tuple(names[each] for each in projected.split(", ")) if projected else None
        return _paged(table, list(table.every()), request, list(table.keys), shown)


def _paged(
    table: Table, found: list[Item], request: Request, key_names: list[str], shown: tuple[str, ...] | None
) -> dict[str, Any]:
    """From after ExclusiveStartKey, `Limit` items that were looked at, and of those the ones that the filter takes."""
    start = request.get("ExclusiveStartKey")
    if start:
        at = next((n for n, item in enumerate(found) if table.key(item) == table.key(start)), -1)
        found = found[at + 1 :]
    limit = request.get("Limit") or len(found)
    looked, rest = found[:limit], found[limit:]
    items = [item for item in looked if _holds(request.get("FilterExpression"), item, request)]
    if shown:
        items = [{name: item[name] for name in shown if name in item} for item in items]
    answer: dict[str, Any] = {"Items": items, "Count": len(items), "ScannedCount": len(looked)}
    if looked and rest:
        answer["LastEvaluatedKey"] = {name: looked[-1][name] for name in key_names}
    return answer


def _holds(text: str | None, item: Item, request: Request) -> bool:
    if not text:
        return True
    names, values = request["ExpressionAttributeNames"], request.get("ExpressionAttributeValues", {})
    return expressions.condition(text)(item, names, values)


def _key_names(schema: list[dict[str, str]]) -> tuple[str, ...]:
    return tuple(part["AttributeName"] for part in sorted(schema, key=lambda part: part["KeyType"] == "RANGE"))


def _plain(attribute: Attribute) -> Any:
    ((kind, value),) = attribute.items()
    if kind not in "SB":
        raise NotImplementedError(f"a key of type {kind}")
    return value


def _error(code: str, operation: str, **more: Any) -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": code}, **more}
    return ClientError(response, operation)
