"""How a case is written: the items before, the calls, the answer to the last call, and the items after.

Attributes are written as Python values: a text is `S`, an integer or a Decimal `N`, bytes `B`, a set `SS`, `NS`, or
`BS`, and so on. `Number` is a number as its text was sent, `Wire` an attribute in DynamoDB's own form.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.fixtures.dynamodb_peers import Request

THINGS, NUMBERED, LONE = "things", "numbered", "lone"

TABLES: tuple[Request, ...] = (
    {
        "TableName": THINGS,
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}, {"AttributeName": "part", "KeyType": "RANGE"}],
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": "S"} for name in ("id", "part", "kind", "rank")
        ],
        "GlobalSecondaryIndexes": [
            {
                "IndexName": "listing",
                "KeySchema": [
                    {"AttributeName": "kind", "KeyType": "HASH"},
                    {"AttributeName": "rank", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            },
        ],
        "BillingMode": "PAY_PER_REQUEST",
    },
    {
        "TableName": NUMBERED,
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}, {"AttributeName": "at", "KeyType": "RANGE"}],
        "AttributeDefinitions": [
            {"AttributeName": "id", "AttributeType": "B"},
            {"AttributeName": "at", "AttributeType": "N"},
        ],
        "BillingMode": "PAY_PER_REQUEST",
    },
    {
        "TableName": LONE,
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
    },
)
"""As Muster's are: pay per request, and a sparse index that has keys only."""
KEYS = {THINGS: ("id", "part"), NUMBERED: ("id", "at"), LONE: ("id",)}


class Number(str):
    """A number as its text was sent."""


@dataclass(frozen=True)
class Wire:
    """An attribute in DynamoDB's own form."""

    form: dict[str, Any]


Item = dict[str, Any]
Call = tuple[str, Request]


@dataclass(frozen=True)
class Refused:
    """The error's code; of a transaction, the codes of its reasons in order, and the items that it returned.

    `item` is what ReturnValuesOnConditionCheckFailure returned.
    """

    code: str
    reasons: tuple[str, ...] = ()
    item: Item | None = None
    items: tuple[Item | None, ...] = ()


@dataclass(frozen=True)
class Answered:
    """`fields` are compared; an answer's other fields are not."""

    fields: dict[str, Any] = field(default_factory=dict)


INVALID = Refused("ValidationException")
FAILED = Refused("ConditionalCheckFailedException")
NOT_FOUND = Refused("ResourceNotFoundException")
DONE = Answered()


@dataclass(frozen=True)
class Case:
    """`after` are the items of the case's table after the calls; None where they are as before the last call."""

    name: str
    calls: tuple[Call, ...]
    expected: Refused | Answered
    before: tuple[Item, ...] = ()
    after: tuple[Item, ...] | None = None
    table: str = THINGS

    def __str__(self) -> str:
        return self.name


def attribute(value: Any) -> dict[str, Any]:
    """The value in DynamoDB's own form."""
    match value:
        case Wire():
            return value.form
        case Number():
            return {"N": str(value)}
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": value}
        case int() | Decimal():
            return {"N": str(value)}
        case bytes():
            return {"B": value}
        case list():
            return {"L": [attribute(inner) for inner in value]}
        case dict():
            return {"M": attributes(value)}
        case set() | frozenset():
            kinds = {next(iter(attribute(inner))) for inner in value}
            return {f"{kinds.pop()}S": sorted(next(iter(attribute(inner).values())) for inner in value)}
    raise TypeError(f"{value!r} has no form in DynamoDB")


def attributes(item: Item) -> dict[str, Any]:
    return {name: attribute(value) for name, value in item.items()}


def thing(id_: Any = "a", part: Any = "x", **more: Any) -> Item:
    return {"id": id_, "part": part, **more}


def key(id_: Any = "a", part: Any = "x") -> dict[str, Any]:
    """The key of a thing, in DynamoDB's own form."""
    return attributes({"id": id_, "part": part})


def request(table: str = THINGS, *, values: Item | None = None, **more: Any) -> Request:
    """Parameters without those that are None; `values` are written as Python values."""
    told = {"TableName": table, **more}
    if values:
        told["ExpressionAttributeValues"] = attributes(values)
    return {name: value for name, value in told.items() if value is not None}


def put(item: Item, table: str = THINGS, condition: str | None = None, **more: Any) -> Call:
    return "PutItem", request(table, Item=attributes(item), ConditionExpression=condition, **more)


def delete(condition: str | None = None, **more: Any) -> Call:
    return "DeleteItem", request(Key=key(), ConditionExpression=condition, **more)


def update(expression: str | None, condition: str | None = None, **more: Any) -> Call:
    told = {"Key": key(), "UpdateExpression": expression, "ConditionExpression": condition, **more}
    return "UpdateItem", request(**told)


def updated(name: str, before: Item | None, expression: str | None, after: Item | Refused, **more: Any) -> Case:
    """An update of one item. `before` and `after` are its attributes; `before` is None where there is no item."""
    stored = () if before is None else (thing(**before),)
    told = update(expression, ReturnValues="ALL_NEW", **more)
    if isinstance(after, Refused):
        return Case(name, (told,), after, stored)
    answered = Answered({"Attributes": attributes(thing(**after))})
    return Case(name, (told,), answered, stored, after=(thing(**after),))


def condition(name: str, before: Item | None, text: str, holds: bool | Refused, **more: Any) -> Case:
    """A delete on a condition of an item with the attributes `before`, or of none."""
    stored = () if before is None else (thing(**before),)
    if isinstance(holds, Refused):
        return Case(name, (delete(text, **more),), holds, stored)
    if holds:
        return Case(name, (delete(text, **more),), DONE, stored, after=())
    return Case(name, (delete(text, **more),), FAILED, stored)
