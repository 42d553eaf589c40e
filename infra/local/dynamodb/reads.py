"""The operations that read: GetItem, BatchGetItem, TransactGetItems, Query, and Scan.

Each takes the tables by name and a request, and returns the answer. Items in an answer are the stored ones: a caller
must not change them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from infra.local.dynamodb import capacity
from infra.local.dynamodb.attributes import Attribute, Item, canonical, sortable
from infra.local.dynamodb.expressions import Plan, Test, Values, plan_of, projected
from infra.local.dynamodb.refusals import Refused, invalid, invalid_parameter, no_table
from infra.local.dynamodb.rows import Row
from infra.local.dynamodb.table import Index, Key, KeySchema, Table

Request = dict[str, Any]
Answer = dict[str, Any]
Tables = dict[str, Table]

MAX_PAGE_BYTES = 1024 * 1024
MAX_BATCH_BYTES = 16 * 1024 * 1024
MAX_BATCH = 100
MAX_TRANSACTION = 100
MAX_SEGMENTS = 1_000_000
MISSING = "The {} parameter is required but was not present in the request when {} is present"
BAD_START = "The provided starting key is invalid"


def table_of(tables: Tables, request: Request) -> Table:
    table = tables.get(request["TableName"])
    if table is None:
        raise no_table()
    return table


def refuse_legacy(request: Request, *parameters: str) -> None:
    """Raises Refused for parameters from before there were expressions, which the engine does not know."""
    for name in parameters:
        if name in request:
            raise invalid(f"the embedded database does not know the parameter {name}: use an expression")


def get_item(tables: Tables, request: Request) -> Answer:
    refuse_legacy(request, "AttributesToGet")
    table, plan = table_of(tables, request), plan_of(request)
    row = table.rows.get(table.primary_key(request["Key"]))
    units = {"": capacity.read_units(row.size if row else 0, request.get("ConsistentRead") is True)}
    answer: Answer = {"Item": _shown(row.item, plan)} if row else {}
    return _with_capacity(answer, capacity.report(request, table.name, units))


def batch_get_item(tables: Tables, request: Request) -> Answer:
    """Keys are left over once the answer has 16 MB."""
    wanted = request["RequestItems"]
    if not wanted or sum(len(one["Keys"]) for one in wanted.values()) > MAX_BATCH:
        raise invalid(
            "Too many items requested for the BatchGetItem call" if wanted else "RequestItems must not be empty"
        )
    responses: dict[str, list[Item]] = {}
    left: dict[str, Any] = {}
    accounts = []
    size = 0
    for name, one in wanted.items():
        refuse_legacy(one, "AttributesToGet")
        table, plan = table_of(tables, {"TableName": name}), plan_of(one)
        if not one["Keys"]:
            raise invalid(f"The batch for {name} has no keys")
        keys = [table.primary_key(given) for given in one["Keys"]]
        if len(set(keys)) < len(keys):
            raise invalid("Provided list of item keys contains duplicates")
        units: capacity.Units = {}
        found = responses.setdefault(name, [])
        for given, key in zip(one["Keys"], keys, strict=True):
            row = table.rows.get(key)
            if row is not None and size + row.size > MAX_BATCH_BYTES:
                left.setdefault(name, {**one, "Keys": []})["Keys"].append(given)
                continue
            capacity.add(units, {"": capacity.read_units(row.size if row else 0, one.get("ConsistentRead") is True)})
            if row is not None:
                size += row.size
                found.append(_shown(row.item, plan))
        accounts.append(capacity.report(request, name, units))
    return _with_capacities({"Responses": responses, "UnprocessedKeys": left}, accounts)


def transact_get_items(tables: Tables, request: Request) -> Answer:
    wanted = [one["Get"] for one in request["TransactItems"]]
    if not 0 < len(wanted) <= MAX_TRANSACTION:
        raise invalid(
            "1 validation error detected: Value at 'transactItems' failed to satisfy constraint: "
            f"Member must have length between 1 and {MAX_TRANSACTION}"
        )
    responses, units, seen = [], dict[str, capacity.Units](), set[tuple[str, Key]]()
    for one in wanted:
        table, plan = table_of(tables, one), plan_of(one)
        key = table.primary_key(one["Key"])
        if (table.name, key) in seen:
            raise invalid("Transaction request cannot include multiple operations on one item")
        seen.add((table.name, key))
        row = table.rows.get(key)
        capacity.add(units.setdefault(table.name, {}), {"": capacity.read_units(row.size if row else 0, True)})
        responses.append({"Item": _shown(row.item, plan)} if row else {})
    accounts = [capacity.report(request, name, used, 2) for name, used in units.items()]
    return _with_capacities({"Responses": responses}, accounts)


def query(tables: Tables, request: Request) -> Answer:
    refuse_legacy(request, "AttributesToGet", "KeyConditions", "QueryFilter", "ConditionalOperator")
    table, plan = table_of(tables, request), plan_of(request)
    values = plan.values(request.get("ExpressionAttributeValues"))
    index = _index(table, request)
    schema = index.schema if index else table.schema
    if plan.key_condition is None:
        raise invalid("Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.")
    _refuse_filter_on_keys(plan, schema)
    hash_value, sort = _key_condition(plan, schema, values)
    start = _start(table, index, request)
    if start is not None and start[0] != hash_value:
        raise invalid("The provided starting key is outside query boundaries based on provided conditions")
    is_up = request.get("ScanIndexForward") is not False
    if index is None:
        keys = table.partition(hash_value, sort, start[2] if start else None, is_up)
    else:
        keys = table.index_partition(index, hash_value, sort, (start[1], start[2]) if start else None, is_up)
    return _page(table, index, keys, request, plan, values)


def scan(tables: Tables, request: Request) -> Answer:
    refuse_legacy(request, "AttributesToGet", "ScanFilter", "ConditionalOperator")
    table, plan = table_of(tables, request), plan_of(request)
    values = plan.values(request.get("ExpressionAttributeValues"))
    index = _index(table, request)
    segment, segments = _segment(request)
    start = _start(table, index, request)
    keys: Iterable[Key]
    if index is None:
        keys = table.scanned(segment, segments, start[2] if start else None)
    else:
        keys = table.index_scanned(index, segment, segments, (start[0], start[1:]) if start else None)
    return _page(table, index, keys, request, plan, values)


def _segment(request: Request) -> tuple[int, int]:
    segment, segments = request.get("Segment"), request.get("TotalSegments")
    if segment is None and segments is None:
        return 0, 1
    if segments is None:
        raise invalid(MISSING.format("TotalSegments", "Segment"))
    if segment is None:
        raise invalid(MISSING.format("Segment", "TotalSegments"))
    if not 0 < segments <= MAX_SEGMENTS:
        raise invalid(
            f"Value '{segments}' at 'totalSegments' failed to satisfy constraint: between 1 and {MAX_SEGMENTS}"
        )
    if not 0 <= segment < segments:
        raise invalid(
            "The Segment parameter is zero-based and must be less than parameter TotalSegments: "
            f"Segment: {segment} is not less than TotalSegments: {segments}"
        )
    return segment, segments


def _index(table: Table, request: Request) -> Index | None:
    name = request.get("IndexName")
    if name is None:
        return None
    if name not in table.indexes:
        raise invalid(f"The table does not have the specified index: {name}")
    if request.get("ConsistentRead"):
        raise invalid("Consistent reads are not supported on global secondary indexes")
    return table.indexes[name]


def _key_condition(plan: Plan, schema: KeySchema, values: Values) -> tuple[Any, tuple[str, list[Any]] | None]:
    """The value of the partition key, and the operator and limits of the condition on the sort key."""
    assert plan.key_condition is not None, "the caller looked"
    hash_value, sort = None, None
    for name, sign, placeholders in plan.key_condition.parts:
        if name not in schema.types:
            raise invalid(f"Query condition missed key schema element: {_missed(plan, schema)}")
        limits = [_limit(values[placeholder], name, schema) for placeholder in placeholders]
        if name != schema.hash_name:
            sort = (sign, limits)
        elif sign == "=":
            hash_value = limits[0]
        else:
            raise invalid("Query key condition not supported")
    if hash_value is None:
        raise invalid(f"Query condition missed key schema element: {schema.hash_name}")
    return hash_value, sort


def _missed(plan: Plan, schema: KeySchema) -> str:
    assert plan.key_condition is not None, "the caller looked"
    return next((name for name in schema.names if name not in plan.key_condition.names), schema.hash_name)


def _limit(attribute: Attribute, name: str, schema: KeySchema) -> Any:
    kind = schema.types[name]
    if kind not in attribute:
        raise invalid_parameter("Condition parameter type does not match schema type")
    value = attribute[kind]
    if value == "" or value == b"":
        raise invalid(
            "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an "
            f"empty {'string' if kind == 'S' else 'binary'} value. Key: {name}"
        )
    return sortable(kind, value)


def _refuse_filter_on_keys(plan: Plan, schema: KeySchema) -> None:
    for name in schema.names:
        if name in plan.filtered:
            raise invalid(
                f"Filter Expression can only contain non-primary key attributes: Primary key attribute: {name}"
            )


def _start(table: Table, index: Index | None, request: Request) -> tuple[Any, Any, Key] | None:
    """Where the page before ended: the partition, the sort value, and the item's key. The item may be gone."""
    given = request.get("ExclusiveStartKey")
    if not given:
        return None
    names = {*table.schema.names, *(index.schema.names if index else ())}
    if given.keys() != names:
        raise invalid(f"{BAD_START}: The provided key element does not match the schema")
    try:
        start = {name: canonical(attribute) for name, attribute in given.items()}
        key = table.primary_key({name: start[name] for name in table.schema.names})
        entry = index.entry(start, key) if index else None
    except (Refused, KeyError, ValueError) as error:
        raise invalid(f"{BAD_START}: The provided key element does not match the schema") from error
    if entry is None:
        return key[0], key[-1], key
    return entry[0], entry[1][0], key


def _page(
    table: Table, index: Index | None, keys: Iterable[Key], request: Request, plan: Plan, values: Values
) -> Answer:
    """Up to `Limit` items and 1 MB that were looked at, and of those the ones that the filter takes."""
    limit = request.get("Limit")
    if limit is not None and limit < 1:
        raise invalid("Limit must be greater than or equal to 1")
    shown = _select(index, request, plan)
    taken, looked, size, last, has_more = _look(table, index, keys, limit, plan.filter, values)
    answer: Answer = {"Count": len(taken), "ScannedCount": looked}
    if request.get("Select") != "COUNT":
        answer["Items"] = [_parts(item, shown) for item in taken]
    if has_more and last is not None:
        answer["LastEvaluatedKey"] = _last_key(table, index, last)
    units = {index.name if index else "": capacity.read_units(size, request.get("ConsistentRead") is True)}
    return _with_capacity(answer, capacity.report(request, table.name, units))


def _look(
    table: Table, index: Index | None, keys: Iterable[Key], limit: int | None, test: Test | None, values: Values
) -> tuple[list[Item], int, int, Row | None, bool]:
    """The items that are taken, how many were looked at, their bytes, the last of them, and whether more may follow."""
    taken: list[Item] = []
    looked = size = 0
    last: Row | None = None
    rows = table.rows
    for key in keys:
        row = rows[key]
        bytes_ = row.size if index is None else index.size(row)
        if size + bytes_ > MAX_PAGE_BYTES and looked:
            return taken, looked, size, last, True
        looked, size, last = looked + 1, size + bytes_, row
        item = row.item if index is None else index.projection(row.item)
        if test is None or test(item, values):
            taken.append(item)
        if looked == limit:  # whether more follow is not known before they are looked at
            return taken, looked, size, last, True
    return taken, looked, size, last, False


def _select(index: Index | None, request: Request, plan: Plan) -> Plan:
    """Raises Refused for attributes that the index does not have, or that contradict `Select`."""
    select = request.get("Select")
    if plan.projection is not None:
        if select not in (None, "SPECIFIC_ATTRIBUTES"):
            raise invalid(f"Cannot specify the ProjectionExpression when choosing to get {select}")
        if index is not None and index.shown is not None:
            missing = [str(path[0]) for path in plan.projection if path[0] not in index.shown]
            if missing:
                raise invalid_parameter(f"Global secondary index {index.name} does not project [{', '.join(missing)}]")
    elif select == "SPECIFIC_ATTRIBUTES":
        raise invalid(
            "Must specify the AttributesToGet or ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES"
        )
    elif select == "ALL_ATTRIBUTES" and index is not None and index.shown is not None:
        raise invalid_parameter(
            "Select type ALL_ATTRIBUTES is not supported for global secondary index "
            f"{index.name} because its projection type is not ALL"
        )
    elif select == "ALL_PROJECTED_ATTRIBUTES" and index is None:
        raise invalid("ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName")
    elif select not in (None, "COUNT", "ALL_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES"):
        raise invalid(f"Value '{select}' at 'select' failed to satisfy constraint")
    return plan


def _parts(item: Item, plan: Plan) -> Item:
    return item if plan.projection is None else projected(item, plan.projection)


_shown = _parts


def _last_key(table: Table, index: Index | None, row: Row) -> Item:
    names = (*table.schema.names, *(index.schema.names if index else ()))
    return {name: row.item[name] for name in dict.fromkeys(names)}


def _with_capacity(answer: Answer, account: Answer | None) -> Answer:
    if account is not None:
        answer["ConsumedCapacity"] = account
    return answer


def _with_capacities(answer: Answer, accounts: list[Answer | None]) -> Answer:
    told = [account for account in accounts if account is not None]
    if told:
        answer["ConsumedCapacity"] = told
    return answer
