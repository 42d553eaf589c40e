"""Calls that touch several items: batches and transactions, their limits, duplicates, reasons, and tokens."""

from __future__ import annotations

from typing import Any

from tests.infra.local.dynamodb.cases.forms import (
    DONE,
    INVALID,
    LONE,
    NOT_FOUND,
    THINGS,
    Answered,
    Call,
    Case,
    Item,
    Refused,
    attributes,
    key,
    request,
    thing,
)


def write(*requests: dict[str, Any], table: str = THINGS) -> Call:
    return "BatchWriteItem", {"RequestItems": {table: list(requests)}}


def put_request(item: Item) -> dict[str, Any]:
    return {"PutRequest": {"Item": attributes(item)}}


def delete_request(*parts: Any) -> dict[str, Any]:
    return {"DeleteRequest": {"Key": key(*parts)}}


def read(*keys: dict[str, Any], table: str = THINGS, **more: Any) -> Call:
    return "BatchGetItem", {"RequestItems": {table: {"Keys": list(keys), "ConsistentRead": True, **more}}}


BATCHES = [
    Case(
        "a batch puts and deletes",
        (write(put_request(thing("b", n=1)), delete_request("a")),),
        Answered({"UnprocessedItems": {}}),
        (thing("a"),),
        (thing("b", n=1),),
    ),
    Case(
        "a batch deletes an item that is not there", (write(delete_request("a")),), Answered({"UnprocessedItems": {}})
    ),
    Case(
        "a batch of 25 writes",
        (write(*(put_request(thing(str(n))) for n in range(25))),),
        DONE,
        after=tuple(thing(str(n)) for n in range(25)),
    ),
    Case("a batch of 26 writes is refused", (write(*(put_request(thing(str(n))) for n in range(26))),), INVALID),
    Case("a batch of no writes is refused", (write(),), INVALID),
    Case("a batch of no tables is refused", (("BatchWriteItem", {"RequestItems": {}}),), INVALID),
    Case(
        "a batch that puts an item twice is refused",
        (write(put_request(thing(n=1)), put_request(thing(n=2))),),
        INVALID,
    ),
    Case("a batch that deletes an item twice is refused", (write(delete_request(), delete_request()),), INVALID),
    Case(
        "a batch that puts and deletes an item is refused",
        (write(put_request(thing(n=1)), delete_request()),),
        INVALID,
        (thing(),),
    ),
    Case("a batch with a wrong item writes nothing", (write(put_request(thing("b")), put_request(thing(3))),), INVALID),
    Case(
        "a batch with an empty key writes nothing", (write(put_request(thing("b")), put_request(thing(""))),), INVALID
    ),
    Case(
        "a batch with an item of more than 400 KB writes nothing",
        (write(put_request(thing("b")), put_request(thing("c", v="v" * 400 * 1024))),),
        INVALID,
    ),
    Case("a batch to an unknown table is not found", (write(put_request(thing()), table="nowhere"),), NOT_FOUND),
    Case(
        "a batch reads what is there",
        (read(key("a"), key("b"), key("c")),),
        Answered({"Responses": {THINGS: [attributes(thing("a", n=1)), attributes(thing("c"))]}, "UnprocessedKeys": {}}),
        (thing("a", n=1), thing("c")),
    ),
    Case("a batch reads nothing where nothing is", (read(key("a")),), Answered({"Responses": {THINGS: []}})),
    Case(
        "a batch reads what is asked of it",
        (read(key("a"), ProjectionExpression="n, #m.b", ExpressionAttributeNames={"#m": "m"}),),
        Answered({"Responses": {THINGS: [attributes({"n": 1, "m": {"b": 2}})]}}),
        (thing("a", n=1, m={"a": 1, "b": 2}, o=3),),
    ),
    Case(
        "a batch of 100 reads",
        (read(*(key(str(n)) for n in range(100))),),
        Answered({"Responses": {THINGS: [attributes(thing("7"))]}}),
        (thing("7"),),
    ),
    Case("a batch of 101 reads is refused", (read(*(key(str(n)) for n in range(101))),), INVALID),
    Case("a batch of no reads is refused", (read(),), INVALID),
    Case("a batch that reads an item twice is refused", (read(key("a"), key("a")),), INVALID, (thing(),)),
    Case("a batch that reads half a key is refused", (read(attributes({"id": "a"})),), INVALID, (thing(),)),
    Case("a batch that reads an unknown table is not found", (read(key("a"), table="nowhere"),), NOT_FOUND),
]


def transact(*items: dict[str, Any], **more: Any) -> Call:
    return "TransactWriteItems", {"TransactItems": list(items), **more}


def t_put(item: Item, table: str = THINGS, **more: Any) -> dict[str, Any]:
    return {"Put": request(table, Item=attributes(item), **more)}


def t_update(part: Any, expression: str, **more: Any) -> dict[str, Any]:
    return {"Update": request(Key=key("a", part), UpdateExpression=expression, **more)}


def t_delete(part: Any = "x", **more: Any) -> dict[str, Any]:
    return {"Delete": request(Key=key("a", part), **more)}


def t_check(part: Any, condition: str, **more: Any) -> dict[str, Any]:
    return {"ConditionCheck": request(Key=key("a", part), ConditionExpression=condition, **more)}


def canceled(*reasons: str, items: tuple[Item | None, ...] = ()) -> Refused:
    return Refused("TransactionCanceledException", reasons, items=items)


def adding(value: int, token: str | None = None) -> Call:
    told = {"ClientRequestToken": token} if token else {}
    return transact(t_update("x", "ADD n :v", values={":v": value}), **told)


CREATE = transact(t_put(thing(n=1), ConditionExpression="attribute_not_exists(id)"), ClientRequestToken="created")
FAILS, EXISTS, OLD = "ConditionalCheckFailed", "attribute_exists(id)", "ALL_OLD"

TRANSACTIONS = [
    Case(
        "a transaction puts, updates, deletes, and checks",
        (
            transact(
                t_put(thing("b", n=1)),
                t_update("x", "SET n = :v", values={":v": 2}),
                t_delete("y"),
                t_check("z", EXISTS),
            ),
        ),
        DONE,
        (thing(), thing(part="y"), thing(part="z")),
        (thing("b", n=1), thing(n=2), thing(part="z")),
    ),
    Case(
        "a transaction spans tables", (transact(t_put({"id": "b"}, LONE), t_put(thing(n=2))),), DONE, (), (thing(n=2),)
    ),
    Case("a transaction that checks alone", (transact(t_check("x", EXISTS)),), DONE, (thing(),)),
    Case(
        "a transaction whose check fails changes nothing",
        (transact(t_put(thing("b")), t_delete("x"), t_check("y", EXISTS)),),
        canceled("None", "None", FAILS),
        (thing(),),
    ),
    Case(
        "reasons are in the order of the items",
        (
            transact(
                t_check("y", EXISTS),
                t_put(thing("b")),
                t_update("x", "SET n = :v", values={":v": 1}, ConditionExpression="n = :v"),
                t_delete("z", ConditionExpression=EXISTS),
            ),
        ),
        canceled(FAILS, "None", FAILS, FAILS),
        (thing(n=2),),
    ),
    Case(
        "reasons have the items where that is asked",
        (
            transact(
                t_update(
                    "x",
                    "SET n = :v",
                    values={":v": 1},
                    ConditionExpression="n = :v",
                    ReturnValuesOnConditionCheckFailure=OLD,
                ),
                t_delete("y", ConditionExpression=EXISTS, ReturnValuesOnConditionCheckFailure=OLD),
                t_check("z", "attribute_not_exists(id)", ReturnValuesOnConditionCheckFailure=OLD),
                t_put(thing(part="w", n=1), ConditionExpression="attribute_not_exists(id)"),
            ),
        ),
        canceled(FAILS, FAILS, FAILS, FAILS, items=(thing(n=2, m="x"), None, thing(part="z"), None)),
        (thing(n=2, m="x"), thing(part="z"), thing(part="w")),
    ),
    Case(
        "an update of a transaction that is invalid by what is stored cancels it",
        (transact(t_put(thing("b")), t_update("x", "SET n = n + :v", values={":v": 1})),),
        canceled("None", "ValidationError"),
        (thing(n="x"),),
    ),
    Case(
        "an update of a transaction to more than 400 KB cancels it",
        (transact(t_put(thing("b")), t_update("x", "SET v = :v", values={":v": "v" * (400 * 1024 - 20)})),),
        canceled("None", "ValidationError"),
        (thing(w="w" * 40),),
    ),
    Case(
        "an update of a transaction to an index key of another type cancels it",
        (transact(t_put(thing("b")), t_update("x", "SET kind = w")),),
        canceled("None", "ValidationError"),
        (thing(kind="k", rank="r", w=1),),
    ),
    Case(
        "a transaction of 100 items",
        (transact(*(t_put(thing(str(n))) for n in range(100))),),
        DONE,
        after=tuple(thing(str(n)) for n in range(100)),
    ),
    Case("a transaction of 101 items is refused", (transact(*(t_put(thing(str(n))) for n in range(101))),), INVALID),
    Case("a transaction of no items is refused", (transact(),), INVALID),
    Case(
        "a transaction that writes an item twice is refused",
        (transact(t_put(thing(n=1)), t_delete("x")),),
        INVALID,
        (thing(),),
    ),
    Case(
        "a transaction that checks and writes an item is refused",
        (transact(t_check("x", EXISTS), t_update("x", "SET n = :v", values={":v": 1})),),
        INVALID,
        (thing(),),
    ),
    Case(
        "an item of a transaction with two actions is refused",
        (transact({**t_put(thing("b")), **t_delete("x")}),),
        INVALID,
        (thing(),),
    ),
    Case("an item of a transaction with no action is refused", (transact({}),), INVALID),
    Case("a transaction with a syntax error is refused", (transact(t_update("x", "SET n")),), INVALID, (thing(),)),
    Case(
        "a transaction with half a key is refused",
        (transact({"Delete": request(Key=attributes({"id": "a"}))}),),
        canceled("ValidationError"),
        (thing(),),
    ),
    Case("a transaction in an unknown table is not found", (transact(t_put(thing(), "nowhere")),), NOT_FOUND),
    # Tokens
    Case(
        "a transaction that is sent again is done once",
        (adding(1, "done once"), adding(1, "done once")),
        DONE,
        (thing(n=1),),
        (thing(n=2),),
    ),
    Case(
        "another token is another transaction",
        (adding(1, "one"), adding(1, "another")),
        DONE,
        (thing(n=1),),
        (thing(n=3),),
    ),
    Case("no token is another transaction", (adding(1), adding(1)), DONE, (thing(n=1),), (thing(n=3),)),
    Case(
        "a token of another transaction is refused",
        (adding(1, "refused"), adding(2, "refused")),
        Refused("IdempotentParameterMismatchException"),
        (thing(n=1),),
        (thing(n=2),),
    ),
    Case(
        "a transaction that failed may be sent again with its token",
        (CREATE, ("DeleteItem", request(Key=key())), CREATE),
        DONE,
        (thing(n=7),),
        (thing(n=1),),
    ),
    Case("a token of 37 characters is refused", (transact(t_put(thing("b")), ClientRequestToken="t" * 37),), INVALID),
    # Reads
    Case(
        "a transaction reads in the order of its items",
        (("TransactGetItems", {"TransactItems": [{"Get": request(Key=key("a", part))} for part in "yxz"]}),),
        Answered({"Responses": [{"Item": attributes(thing(part="y"))}, {"Item": attributes(thing(n=1))}, {}]}),
        (thing(n=1), thing(part="y")),
    ),
]

SEVERAL = [*BATCHES, *TRANSACTIONS]
