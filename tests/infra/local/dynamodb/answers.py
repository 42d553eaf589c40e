"""Runs cases and compares answers: without order where DynamoDB promises none."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from tests.fixtures.dynamodb_peers import Answer, Client, Request
from tests.infra.local.dynamodb.cases.forms import KEYS, TABLES, Answered, Call, Case, Item, Refused, attributes

T = TypeVar("T")
WRITES = 25
"""In one batch at most."""
Row = dict[str, Any]


class Database:
    """A client, and its tables. `held` is what is in them, so that they are emptied without being read."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.held: dict[str, list[Row]] = {name: [] for name in KEYS}
        self.make_tables()

    def make_tables(self) -> None:
        for table in TABLES:
            self.ask("CreateTable", table)

    def ask(self, operation: str, request: Request) -> Answer:
        """Raises ClientError."""
        return self.client._make_api_call(operation, request)

    def outcome(self, call: Call) -> Answer | ClientError:
        try:
            return self.ask(*call)
        except ClientError as error:
            return error

    def rows(self, table: str) -> list[Row]:
        """Every item of a table, in its own order, page by page."""
        pages = self.pages("Scan", {"TableName": table, "ConsistentRead": True})
        self.held[table] = [row for page in pages for row in page["Items"]]
        return self.held[table]

    def pages(self, operation: str, request: Request) -> Iterable[Answer]:
        page = self.ask(operation, request)
        yield page
        while "LastEvaluatedKey" in page:
            page = self.ask(operation, {**request, "ExclusiveStartKey": page["LastEvaluatedKey"]})
            yield page

    def fill(self, table: str, items: Iterable[Item]) -> None:
        """Exactly these items are in the table, and nothing in any other."""
        for name, names in KEYS.items():
            self.write(
                name, [{"DeleteRequest": {"Key": {part: row[part] for part in names}}} for row in self.held[name]]
            )
            self.held[name] = []
        self.held[table] = [attributes(item) for item in items]
        self.write(table, [{"PutRequest": {"Item": row}} for row in self.held[table]])

    def write(self, table: str, requests: list[Request]) -> None:
        for batch in batched(requests, WRITES):
            self.ask("BatchWriteItem", {"RequestItems": {table: batch}})


def batched(values: list[T], size: int) -> Iterable[list[T]]:
    return (values[start : start + size] for start in range(0, len(values), size))


def check(case: Case, database: Database) -> None:
    """Raises AssertionError where the answer or the items after it are not as expected."""
    database.fill(case.table, case.before)
    *earlier, last = case.calls
    for call in earlier:
        database.outcome(call)
    if case.after is not None:
        after = [attributes(item) for item in case.after]
    else:
        after = database.rows(case.table) if earlier else database.held[case.table]
    try:
        assert_answer(case.expected, database.outcome(last))
    finally:
        for table in sorted(tables_of(case)):
            database.rows(table)
    assert unordered(database.held[case.table]) == unordered(after), "the table's items"


def tables_of(case: Case) -> set[str]:
    """The tables that the case may have changed."""
    asked = repr(case.calls)
    return {case.table, *(name for name in KEYS if repr(name) in asked)}


def assert_answer(expected: Refused | Answered, answer: Answer | ClientError) -> None:
    if isinstance(expected, Refused):
        assert isinstance(answer, ClientError), f"expected {expected.code}, answered {answer}"
        _assert_refused(expected, answer)
        return
    if isinstance(answer, ClientError):
        raise AssertionError(f"expected an answer, refused: {answer}")
    for name, value in expected.fields.items():
        found = answer.get(name)
        if name in ("Responses", "ConsumedCapacity") and isinstance(value, dict):
            assert unordered_tables(found) == unordered_tables(value), name
        elif name == "Items":
            assert [exact(row) for row in found or []] == [exact(row) for row in value or []], name
        else:
            assert exact(found or None) == exact(value or None) or found == value, name


def _assert_refused(expected: Refused, error: ClientError) -> None:
    response: Any = error.response
    assert response["Error"]["Code"] == expected.code, error
    if expected.reasons:
        reasons = response.get("CancellationReasons") or []
        assert tuple(reason["Code"] for reason in reasons) == expected.reasons
        items = [exact(reason.get("Item")) for reason in reasons]
        wanted = expected.items or (None,) * len(expected.reasons)
        assert items == [None if item is None else exact(attributes(item)) for item in wanted]
    elif expected.code == "ConditionalCheckFailedException":
        item = response.get("Item")
        assert exact(item) == (None if expected.item is None else exact(attributes(expected.item)))


def code_of(answer: Answer | ClientError) -> Any:
    """An error's code with the codes of a transaction's reasons, or None."""
    if not isinstance(answer, ClientError):
        return None
    response: Any = answer.response
    return response["Error"]["Code"], tuple(reason["Code"] for reason in response.get("CancellationReasons") or ())


def exact(value: Any) -> Any:
    """The same for what is the same in DynamoDB: attributes and sets have no order; numbers keep their text."""
    if isinstance(value, dict):
        return {
            name: sorted(content) if name in ("SS", "NS", "BS") and isinstance(content, list) else exact(content)
            for name, content in value.items()
        }
    if isinstance(value, list):
        return [exact(inner) for inner in value]
    return value


def unordered(rows: Iterable[Row]) -> list[str]:
    """For items in no order; 1 and 1.0 are one number."""
    return sorted(repr(_numeric(exact(row))) for row in rows)


def unordered_tables(responses: Any) -> Any:
    return {
        name: unordered(rows) if isinstance(rows, list) else rows for name, rows in sorted((responses or {}).items())
    }


def _numeric(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: Decimal(inner).normalize()
            if name == "N" and isinstance(inner, str)
            else sorted(Decimal(one) for one in inner)
            if name == "NS"
            else base64.b64encode(inner)
            if isinstance(inner, bytes)
            else _numeric(inner)
            for name, inner in sorted(value.items())
        }
    return [_numeric(inner) for inner in value] if isinstance(value, list) else value
