"""Queries and scans: ranges of keys, order, filters, limits, indexes, projections, segments, and consumed capacity."""

from __future__ import annotations

from typing import Any

from tests.infra.local.dynamodb.cases.forms import (
    INVALID,
    LONE,
    NUMBERED,
    THINGS,
    Answered,
    Call,
    Case,
    Item,
    Refused,
    attributes,
    key,
    put,
    request,
    thing,
    update,
)

PARTS = ("", "a", "ab", "abc", "b", "\uff5e", "\U0001f600")
ROW = tuple(thing(part=part or "A", n=number) for number, part in enumerate(PARTS))
RANKED = tuple(thing(str(n), "x", kind="k", rank=f"r{n}", o=n) for n in range(4))


def query(condition: str = "id = :id", table: str = THINGS, *, values: Item | None = None, **more: Any) -> Call:
    return "Query", request(table, KeyConditionExpression=condition, values={":id": "a"} | (values or {}), **more)


def listing(condition: str = "kind = :k", *, values: Item | None = None, **more: Any) -> Call:
    told = {":k": "k"} | (values or {})
    return "Query", request(IndexName="listing", KeyConditionExpression=condition, values=told, **more)


def scan(table: str = THINGS, **more: Any) -> Call:
    return "Scan", request(table, **more)


def numbers(*found: int, **more: Any) -> Answered:
    """The things of ROW with those numbers, in that order."""
    return Answered({"Items": [attributes(ROW[number]) for number in found], "Count": len(found), **more})


def ranked(*found: int, **more: Any) -> Answered:
    """The entries of the index of the things of RANKED with those numbers."""
    entries = [{name: value for name, value in RANKED[number].items() if name != "o"} for number in found]
    return Answered({"Items": [attributes(entry) for entry in entries], "Count": len(found), **more})


RANGES = [
    Case(
        f"a query where {condition.replace(':a', repr(values[':a']))}",
        (query(f"id = :id AND {condition}", values=values),),
        numbers(*found),
        ROW,
    )
    for condition, values, found in [
        ("part = :a", {":a": "ab"}, [2]),
        ("part < :a", {":a": "ab"}, [0, 1]),
        ("part <= :a", {":a": "ab"}, [0, 1, 2]),
        ("part > :a", {":a": "abc"}, [4, 5, 6]),
        ("part >= :a", {":a": "abc"}, [3, 4, 5, 6]),
        ("part BETWEEN :a AND :b", {":a": "a", ":b": "abc"}, [1, 2, 3]),
        ("begins_with(part, :a)", {":a": "ab"}, [2, 3]),
        ("begins_with(part, :a)", {":a": "z"}, []),
    ]
]

QUERIES = [
    *RANGES,
    Case("a query is in the order of UTF-8", (query(),), numbers(0, 1, 2, 3, 4, 5, 6), ROW),
    Case("a query backward", (query(ScanIndexForward=False),), numbers(6, 5, 4, 3, 2, 1, 0), ROW),
    Case(
        "a query of another hash key finds nothing",
        (query(values={":id": "b"}),),
        Answered({"Items": [], "Count": 0}),
        ROW,
    ),
    Case(
        "a query with the hash key last",
        (query("part > :a AND id = :id", values={":a": "abc"}),),
        numbers(4, 5, 6),
        ROW,
    ),
    Case("a query in parentheses", (query("(id = :id) AND (part > :a)", values={":a": "abc"}),), numbers(4, 5, 6), ROW),
    Case(
        "a query of numbers is in their order",
        (
            query(
                "id = :id AND #at > :low",
                NUMBERED,
                values={":id": b"\xff", ":low": -10},
                ExpressionAttributeNames={"#at": "at"},
            ),
        ),
        Answered({"Items": [attributes({"id": b"\xff", "at": at}) for at in (-9, 0, 2, 10)]}),
        tuple({"id": b"\xff", "at": at} for at in (10, -9, 2, 0, -10)),
        table=NUMBERED,
    ),
    Case("a query with a limit", (query(Limit=2),), numbers(0, 1, ScannedCount=2, LastEvaluatedKey=key(part="a")), ROW),
    Case(
        "a query with a limit, backward",
        (query(Limit=2, ScanIndexForward=False),),
        numbers(6, 5, LastEvaluatedKey=key(part=PARTS[5])),
        ROW,
    ),
    Case("a query goes on", (query(Limit=2, ExclusiveStartKey=key(part="a")),), numbers(2, 3), ROW),
    Case(
        "a query goes on, backward",
        (query(ScanIndexForward=False, ExclusiveStartKey=key(part="ab")),),
        numbers(1, 0),
        ROW,
    ),
    Case(
        "a query goes on after an item that is gone",
        (query(ExclusiveStartKey=key(part="aa")),),
        numbers(2, 3, 4, 5, 6),
        ROW,
    ),
    Case(
        "a query goes on, backward, after an item that is gone",
        (query(ScanIndexForward=False, ExclusiveStartKey=key(part="aa")),),
        numbers(1, 0),
        ROW,
    ),
    Case(
        "a query goes on after the last",
        (query(ExclusiveStartKey=key(part=PARTS[6])),),
        numbers(LastEvaluatedKey=None),
        ROW,
    ),
    Case("a query's last page has no last key", (query(Limit=9),), numbers(*range(7), LastEvaluatedKey=None), ROW),
    Case(
        "a filter comes after the limit",
        (query(Limit=3, FilterExpression="n > :n", values={":n": 1}),),
        numbers(2, ScannedCount=3, LastEvaluatedKey=key(part="ab")),
        ROW,
    ),
    Case(
        "a page may be empty, and not the last",
        (query(Limit=2, FilterExpression="n > :n", values={":n": 5}),),
        numbers(ScannedCount=2, LastEvaluatedKey=key(part="a")),
        ROW,
    ),
    Case("a query counts", (query(Select="COUNT"),), Answered({"Count": 7, "ScannedCount": 7, "Items": None}), ROW),
    Case(
        "a query of some attributes",
        (query("id = :id AND part = :p", values={":p": "b"}, ProjectionExpression="n"),),
        Answered({"Items": [attributes({"n": 4})]}),
        ROW,
    ),
    # Refused
    Case("a query without a hash key is refused", (query("part = :id"),), INVALID, ROW),
    Case("a query of a range of hash keys is refused", (query("id > :id"),), INVALID, ROW),
    Case("a query of another attribute is refused", (query("id = :id AND n = :n", values={":n": 1}),), INVALID, ROW),
    Case("a query with OR is refused", (query("id = :id OR part = :id"),), INVALID, ROW),
    Case("a query where a range key differs is refused", (query("id = :id AND part <> :id"),), INVALID, ROW),
    Case("a query with a key of another type is refused", (query(values={":id": 1}),), INVALID, ROW),
    Case("a query with an empty hash key is refused", (query(values={":id": ""}),), INVALID, ROW),
    Case(
        "a query with two conditions on its range key is refused",
        (query("id = :id AND part > :a AND part < :b", values={":a": "a", ":b": "b"}),),
        INVALID,
        ROW,
    ),
    Case("a filter on a key is refused", (query(FilterExpression="part > :p", values={":p": "a"}),), INVALID, ROW),
    Case("a limit of zero is refused", (query(Limit=0),), INVALID, ROW),
    Case("a start of half a key is refused", (query(ExclusiveStartKey=attributes({"id": "a"})),), INVALID, ROW),
    Case("a start with another hash key is refused", (query(ExclusiveStartKey=key("b", "a")),), INVALID, ROW),
    Case(
        "a start of another type is refused",
        (query(ExclusiveStartKey=attributes({"id": "a", "part": 1})),),
        INVALID,
        ROW,
    ),
    Case("a query without a condition is refused", (("Query", request()),), INVALID, ROW),
]

INDEXES = [
    Case("an index has keys only, in the order of its range", (listing(),), ranked(0, 1, 2, 3), RANKED),
    Case("an index backward", (listing(ScanIndexForward=False, Limit=2),), ranked(3, 2), RANKED),
    Case(
        "an index's range",
        (listing("kind = :k AND #r > :r", values={":r": "r1"}, ExpressionAttributeNames={"#r": "rank"}),),
        ranked(2, 3),
        RANKED,
    ),
    Case(
        "an index's last key has the table's key too",
        (listing(Limit=2),),
        ranked(0, 1, LastEvaluatedKey=attributes(thing("1", kind="k", rank="r1"))),
        RANKED,
    ),
    Case(
        "an index goes on",
        (listing(ExclusiveStartKey=attributes(thing("1", kind="k", rank="r1"))),),
        ranked(2, 3),
        RANKED,
    ),
    Case(
        "an index goes on after an entry that is gone",
        (listing(ExclusiveStartKey=attributes(thing("zz", kind="k", rank="r11"))),),
        ranked(2, 3),
        RANKED,
    ),
    Case(
        "an index is sparse",
        (put(thing("9", kind="k")), put(thing("8", rank="r8")), listing()),
        ranked(0, 1, 2, 3),
        RANKED,
        (*RANKED, thing("9", kind="k"), thing("8", rank="r8")),
    ),
    Case(
        "an item leaves an index with its attribute",
        (("UpdateItem", request(Key=key("1"), UpdateExpression="REMOVE kind")), listing()),
        ranked(0, 2, 3),
        RANKED,
        (RANKED[0], thing("1", rank="r1", o=1), *RANKED[2:]),
    ),
    Case(
        "an item moves in an index",
        (update("SET #r = :r", values={":r": "r9"}, ExpressionAttributeNames={"#r": "rank"}), listing()),
        Answered({"Items": [attributes(thing("b", kind="k", rank="r1")), attributes(thing(kind="k", rank="r9"))]}),
        (thing(kind="k", rank="r0"), thing("b", kind="k", rank="r1")),
        (thing(kind="k", rank="r9"), thing("b", kind="k", rank="r1")),
    ),
    Case("a consistent read of an index is refused", (listing(ConsistentRead=True),), INVALID, RANKED),
    Case("a query of an unknown index is refused", (("Query", {**listing()[1], "IndexName": "nothing"}),), INVALID),
    Case("an index gives no other attributes", (listing(Select="ALL_ATTRIBUTES"),), INVALID, RANKED),
    Case(
        "a start in an index without the table's key is refused",
        (listing(ExclusiveStartKey=attributes({"kind": "k", "rank": "r1"})),),
        INVALID,
        RANKED,
    ),
    Case(
        "a start in an index with another hash key is refused",
        (listing(ExclusiveStartKey=attributes(thing("1", kind="other", rank="r1"))),),
        INVALID,
        RANKED,
    ),
]

SCANS = [
    Case(
        "a scan of an empty table",
        (scan(),),
        Answered({"Items": [], "Count": 0, "ScannedCount": 0, "LastEvaluatedKey": None}),
    ),
    Case("a scan finds all", (scan(),), Answered({"Count": 4, "ScannedCount": 4, "LastEvaluatedKey": None}), RANKED),
    Case(
        "a scan filters",
        (scan(FilterExpression="o > :o", values={":o": 2}),),
        Answered({"Items": [attributes(RANKED[3])], "Count": 1, "ScannedCount": 4}),
        RANKED,
    ),
    Case(
        "a scan may filter by keys",
        (scan(FilterExpression="id = :o", values={":o": "2"}),),
        Answered({"Items": [attributes(RANKED[2])], "Count": 1}),
        RANKED,
    ),
    Case(
        "a scan of some attributes",
        (scan(FilterExpression="o > :o", ProjectionExpression="o", values={":o": 2}),),
        Answered({"Items": [attributes({"o": 3})]}),
        RANKED,
    ),
    Case("a scan counts", (scan(Select="COUNT"),), Answered({"Count": 4, "Items": None}), RANKED),
    Case(
        "a scan with a limit has a last key",
        (scan(LONE, Limit=1),),
        Answered({"Count": 1, "LastEvaluatedKey": attributes({"id": "b"})}),
        ({"id": "b"},),
        table=LONE,
    ),
    Case("a scan with a limit of zero is refused", (scan(Limit=0),), INVALID, RANKED),
    Case("a segment past the last is refused", (scan(Segment=2, TotalSegments=2),), INVALID, RANKED),
    Case("a segment without their number is refused", (scan(Segment=0),), INVALID, RANKED),
    Case("segments without one are refused", (scan(TotalSegments=2),), INVALID, RANKED),
    Case(
        "a scan with a start of half a key is refused",
        (scan(ExclusiveStartKey=attributes({"id": "a"})),),
        INVALID,
        RANKED,
    ),
    Case("a scan with an unknown placeholder is refused", (scan(FilterExpression="o > :o"),), INVALID, RANKED),
]

PROJECTED: dict[str, Item | Refused] = {
    "n": {"n": 1},
    "n, id": {"n": 1, "id": "a"},
    "m.d": {"m": {"d": 4}},
    "m.a[1].b, m.d": {"m": {"a": [{"b": 2}], "d": 4}},
    "m.a[0]": {"m": {"a": [1]}},
    "n, absent": {"n": 1},
    "absent": {},
    "n, n": INVALID,
    "m, m.a": INVALID,
    "": INVALID,
    "size": INVALID,
}
PROJECTIONS = [
    Case(
        f"a get of {asked}",
        (("GetItem", request(Key=key(), ProjectionExpression=asked, ConsistentRead=True)),),
        got if isinstance(got, Refused) else Answered({"Item": attributes(got)}),
        (thing(n=1, m={"a": [1, {"b": 2, "c": 3}], "d": 4}),),
    )
    for asked, got in PROJECTED.items()
]


def units(total: float) -> Answered:
    return Answered({"ConsumedCapacity": {"TableName": THINGS, "CapacityUnits": total}})


KB = 1024
CAPACITY = [
    Case(
        "a consistent read of up to 4 KB is a unit",
        (("GetItem", request(Key=key(), ConsistentRead=True, ReturnConsumedCapacity="TOTAL")),),
        units(1),
        (thing(),),
    ),
    Case(
        "a consistent read of more than 4 KB is two units",
        (("GetItem", request(Key=key(), ConsistentRead=True, ReturnConsumedCapacity="TOTAL")),),
        units(2),
        (thing(v="v" * 4 * KB),),
    ),
    Case(
        "an eventually consistent read is half a unit",
        (("GetItem", request(Key=key(), ReturnConsumedCapacity="TOTAL")),),
        units(0.5),
        (thing(),),
    ),
    Case(
        "a read of what is not there is half a unit",
        (("GetItem", request(Key=key(), ReturnConsumedCapacity="TOTAL")),),
        units(0.5),
    ),
    Case(
        "a write of up to 1 KB is a unit", (put(thing(), ReturnConsumedCapacity="TOTAL"),), units(1), after=(thing(),)
    ),
    Case(
        "a write of more than 1 KB is two units",
        (put(thing(v="v" * KB), ReturnConsumedCapacity="TOTAL"),),
        units(2),
        after=(thing(v="v" * KB),),
    ),
    Case(
        "a write to a larger item costs its former size",
        (put(thing(), ReturnConsumedCapacity="TOTAL"),),
        units(3),
        (thing(v="v" * 2 * KB),),
        (thing(),),
    ),
    Case(
        "a query costs the sum of the sizes",
        (query(ReturnConsumedCapacity="TOTAL", ConsistentRead=True),),
        units(2),
        tuple(thing(part=str(n), v="v" * KB) for n in range(5)),
    ),
    Case(
        "a scan costs what it passed over",
        (scan(ReturnConsumedCapacity="TOTAL", FilterExpression="attribute_exists(w)"),),
        units(1),
        tuple(thing(part=str(n), v="v" * KB) for n in range(5)),
    ),
    Case(
        "no capacity is returned where none is asked",
        (put(thing()),),
        Answered({"ConsumedCapacity": None}),
        after=(thing(),),
    ),
]

READS = [*QUERIES, *INDEXES, *SCANS, *PROJECTIONS, *CAPACITY]
