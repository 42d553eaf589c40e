"""Values: numbers and their canonical forms, sets, empty values, bytes, types of keys, and sizes."""

from __future__ import annotations

from typing import Any

from tests.infra.local.dynamodb.cases.forms import (
    DONE,
    INVALID,
    LONE,
    NUMBERED,
    Answered,
    Case,
    Item,
    Number,
    Refused,
    Wire,
    attributes,
    key,
    put,
    request,
    thing,
    update,
)

KB = 1024
LARGEST_ITEM = 400 * KB
DEEP: Any = 1
for _level in range(30):
    DEEP = [DEEP] if _level % 2 else {"a": DEEP}
GET = ("GetItem", request(Key=key(), ConsistentRead=True))


def stored(name: str, sent: Any, returned: Any) -> Case:
    """An attribute is put, and what a read returns, in the very form of it."""
    return Case(
        name, (put(thing(v=sent)), GET), Answered({"Item": attributes(thing(v=returned))}), after=(thing(v=returned),)
    )


def refused(name: str, sent: Any) -> Case:
    return Case(name, (put(thing(v=sent)),), INVALID)


def large(size: int) -> Item:
    """A thing of so many bytes."""
    return thing(v="v" * (size - len("idapartxv")))


def key_refused(call: Item, expected: Refused, name: str, table: str = LONE) -> Case:
    return Case(name, (("PutItem", request(table, Item=attributes(call))),), expected, table=table)


NUMBERS = [
    *(
        stored(f"the number {sent} is {returned}", Number(sent), Number(returned))
        for sent, returned in {
            "1": "1",
            "1.0": "1",
            "01": "1",
            "-0": "0",
            "0.0": "0",
            "-1.50": "-1.5",
            ".5": "0.5",
            "1e2": "100",
            "1E+2": "100",
            "12.5e-1": "1.25",
            "1e-5": "0.00001",
            "1800000000.123": "1800000000.123",
            "1e20": "1" + "0" * 20,
            "9" * 38: "9" * 38,
            "0." + "9" * 38: "0." + "9" * 38,
            "1" * 38 + "000": "1" * 38 + "000",
        }.items()
    ),
    *(
        refused(f"the number {sent[:45]} is refused", Number(sent))
        for sent in (
            "1" * 39,
            "0." + "1" * 39,
            "1" + "0" * 37 + "1",
            "1e126",
            "-1e126",
            "1e-131",
            "NaN",
            "Infinity",
            "x",
            "",
            "1_000",
            "0x10",
            "1e",
            "--1",
        )
    ),
    stored("numbers in a list and a map", Wire({"L": [{"N": "1.0"}, {"M": {"a": {"N": "2.0"}}}]}), [1, {"a": 2}]),
    stored("numbers in a set", Wire({"NS": ["1.0"]}), {1}),
    Case(
        "1 and 1.0 are one key",
        (put({"id": b"x", "at": Number("1.0"), "v": 2}, NUMBERED),),
        DONE,
        ({"id": b"x", "at": 1, "v": 1},),
        ({"id": b"x", "at": 1, "v": 2},),
        NUMBERED,
    ),
    Case(
        "an update that overflows is refused",
        (update("ADD n :v", values={":v": Number("9e125")}),),
        INVALID,
        (thing(n=Number("9e125")),),
    ),
]

SETS = [
    stored("a set of texts", {"x", "y"}, {"x", "y"}),
    stored("a set of numbers", {1, 2}, {1, 2}),
    stored("a set of bytes", {b"x", b"\xff"}, {b"x", b"\xff"}),
    *(refused(f"an empty set {kind} is refused", Wire({kind: []})) for kind in ("SS", "NS", "BS")),
    *(
        refused(f"a set {kind} with {one!r} and {other!r} is refused", Wire({kind: [one, other]}))
        for kind, one, other in (("SS", "x", "x"), ("NS", "1", "1"), ("NS", "1", "1.0"), ("BS", b"x", b"x"))
    ),
    stored("an empty text in a set", Wire({"SS": ["", "x"]}), Wire({"SS": ["", "x"]})),
    refused("a number of no form in a set is refused", Wire({"NS": ["x"]})),
]

OTHERS = [
    stored("an empty text", "", ""),
    stored("empty bytes", b"", b""),
    stored("every byte", bytes(range(256)), bytes(range(256))),
    stored("a text with NUL and of every plane", "\x00ä€\U0001f600", "\x00ä€\U0001f600"),
    stored("empty lists and maps", {"l": [], "m": {}}, {"l": [], "m": {}}),
    stored("NULL", None, None),
    stored("texts and truths", [True, False, "x"], [True, False, "x"]),
    stored("maps and lists of 30 levels", DEEP, DEEP),
    refused("an attribute of two types is refused", Wire({"S": "x", "N": "1"})),
    refused("an attribute without a type is refused", Wire({})),
    refused("NULL that is false is refused", Wire({"NULL": False})),
    Case("a put replaces every attribute", (put(thing(n=1)),), DONE, (thing(m=2),), (thing(n=1),)),
    Case(
        "a put returns the old item where that is asked",
        (put(thing(n=1), ReturnValues="ALL_OLD"),),
        Answered({"Attributes": attributes(thing(m=2))}),
        (thing(m=2),),
        (thing(n=1),),
    ),
    Case("a put cannot return the new item", (put(thing(n=1), ReturnValues="ALL_NEW"),), INVALID, (thing(m=2),)),
    Case(
        "a delete returns the old item where that is asked",
        (("DeleteItem", request(Key=key(), ReturnValues="ALL_OLD")),),
        Answered({"Attributes": attributes(thing(m=2))}),
        (thing(m=2),),
        (),
    ),
    Case(
        "a delete of what is not there succeeds",
        (("DeleteItem", request(Key=key(), ReturnValues="ALL_OLD")),),
        Answered({"Attributes": None}),
    ),
    Case("a get of what is not there has no item", (GET,), Answered({"Item": None})),
]

WRONG_KEYS: dict[str, Item] = {
    "half a key": {"id": "a"},
    "more than a key": {"id": "a", "part": "x", "n": 1},
    "another key": {"id": "a", "n": "x"},
    "a key of another type": {"id": "a", "part": 1},
    "an empty key": {"id": "a", "part": ""},
    "no key": {},
}
OF_A_TABLE: dict[str, Item] = {
    "GetItem": {"Key": key()},
    "DeleteItem": {"Key": key()},
    "UpdateItem": {"Key": key()},
    "PutItem": {"Item": key()},
    "Scan": {},
    "DescribeTable": {},
    "DeleteTable": {},
    "Query": {"KeyConditionExpression": "id = :v", "ExpressionAttributeValues": {":v": {"S": "a"}}},
}
KEY_ERRORS = [
    key_refused({}, INVALID, "an item without a hash key is refused"),
    key_refused({"id": 1}, INVALID, "a key of another type is refused"),
    key_refused({"id": ""}, INVALID, "an empty key is refused"),
    key_refused({"id": None}, INVALID, "a key that is NULL is refused"),
    key_refused({"id": "x" * 2049}, INVALID, "a hash key of 2049 bytes is refused"),
    Case("a hash key of 2048 bytes", (put({"id": "x" * 2048}, LONE),), DONE, after=({"id": "x" * 2048},), table=LONE),
    Case("an item without a range key is refused", (put({"id": "a"}),), INVALID),
    Case("a range key of 1025 bytes is refused", (put(thing(part="ä" * 512 + "x")),), INVALID),
    Case("a range key of 1024 bytes", (put(thing(part="ä" * 512)),), DONE, after=(thing(part="ä" * 512),)),
    Case("an empty range key is refused", (put(thing(part="")),), INVALID),
    Case("empty bytes as a key are refused", (put({"id": b"", "at": 1}, NUMBERED),), INVALID, table=NUMBERED),
    *(
        Case(f"a {operation} with {name} is refused", ((operation, request(Key=attributes(wrong))),), INVALID)
        for operation in ("GetItem", "DeleteItem", "UpdateItem")
        for name, wrong in WRONG_KEYS.items()
    ),
    Case("an index key of another type is refused", (put(thing(kind=1, rank="r")),), INVALID),
    Case("an empty index key is refused", (put(thing(kind="", rank="r")),), INVALID),
    Case("an index key that is NULL is refused", (put(thing(kind=None, rank="r")),), INVALID),
    Case(
        "an update to an index key of another type is refused",
        (update("SET kind = :v", values={":v": 1}),),
        INVALID,
        (thing(kind="k", rank="r"),),
    ),
    Case(
        "an update to an empty index key is refused",
        (update("SET kind = :v", values={":v": ""}),),
        INVALID,
        (thing(kind="k", rank="r"),),
    ),
    *(
        Case(
            f"a {operation} of an unknown table is not found",
            ((operation, {"TableName": "nowhere", **more}),),
            Refused("ResourceNotFoundException"),
        )
        for operation, more in OF_A_TABLE.items()
    ),
    Case(
        "a table that is there cannot be made again",
        (
            (
                "CreateTable",
                {
                    "TableName": LONE,
                    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
                    "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
                    "BillingMode": "PAY_PER_REQUEST",
                },
            ),
        ),
        Refused("ResourceInUseException"),
    ),
]

SIZES = [
    Case("an item of 400 KB", (put(large(LARGEST_ITEM)),), DONE, after=(large(LARGEST_ITEM),)),
    Case("an item of more than 400 KB is refused", (put(large(LARGEST_ITEM + 1)),), INVALID),
    Case(
        "an update to nearly 400 KB",
        (update("SET v = :v", values={":v": large(LARGEST_ITEM - KB)["v"]}),),
        DONE,
        (thing(),),
        (large(LARGEST_ITEM - KB),),
    ),
    Case(
        "an update to more than 400 KB is refused",
        (update("SET v = :v", values={":v": large(LARGEST_ITEM - 10)["v"]}),),
        INVALID,
        (thing(w="w" * 20),),
    ),
]

VALUES = [*NUMBERS, *SETS, *OTHERS, *KEY_ERRORS, *SIZES]
