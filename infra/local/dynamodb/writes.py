"""The operations that write: PutItem, UpdateItem, DeleteItem, BatchWriteItem, and TransactWriteItems.

Each computes its changes first, and raises Refused before anything was changed. `apply` then makes all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from infra.local.dynamodb import attributes, capacity
from infra.local.dynamodb.attributes import MAX_ITEM_BYTES, Item
from infra.local.dynamodb.expressions import Plan, plan_of, projected
from infra.local.dynamodb.reads import MAX_TRANSACTION, Answer, Request, Tables, refuse_legacy, table_of
from infra.local.dynamodb.refusals import CONDITION_FAILED, Refused, invalid, invalid_parameter
from infra.local.dynamodb.rows import Row
from infra.local.dynamodb.table import Key, Table, check_index_keys

MAX_BATCH = 25
MAX_TOKEN = 36
MAX_TRANSACTION_BYTES = 4 * 1024 * 1024
TOO_LARGE = "Item size has exceeded the maximum allowed size"
RETURNS = {
    "PutItem": {"NONE", "ALL_OLD"},
    "DeleteItem": {"NONE", "ALL_OLD"},
    "UpdateItem": {"NONE", "ALL_OLD", "ALL_NEW", "UPDATED_OLD", "UPDATED_NEW"},
}
LEGACY = ("Expected", "AttributeUpdates", "ConditionalOperator")


class Change(NamedTuple):
    """A row becomes another one; None for a row that is not there."""

    table: Table
    key: Key
    before: Row | None
    after: Row | None


Apply = Callable[[list[Change]], None]


def put_item(tables: Tables, request: Request, apply: Apply) -> Answer:
    return _alone(tables, request, apply, "PutItem", put)


def delete_item(tables: Tables, request: Request, apply: Apply) -> Answer:
    return _alone(tables, request, apply, "DeleteItem", delete)


def update_item(tables: Tables, request: Request, apply: Apply) -> Answer:
    return _alone(tables, request, apply, "UpdateItem", update)


def _alone(
    tables: Tables, request: Request, apply: Apply, operation: str, compute: Callable[[Table, Request, Plan], Change]
) -> Answer:
    for name in LEGACY:
        if name in request:
            refuse_legacy(request, *LEGACY)
    returned = request.get("ReturnValues") or "NONE"
    if returned not in RETURNS[operation]:
        raise invalid(
            "ReturnValues can only be ALL_OLD or NONE" if operation != "UpdateItem" else "unknown ReturnValues"
        )
    table, plan = table_of(tables, request), plan_of(request)
    change = compute(table, request, plan)
    apply([change])
    answer: Answer = {}
    if returned != "NONE":
        told = _returned(returned, change, plan)
        if told:
            answer["Attributes"] = told
    account = capacity.report(request, table.name, capacity.write_units(table, change.before, change.after))
    if account is not None:
        answer["ConsumedCapacity"] = account
    return answer


def _returned(wanted: str, change: Change, plan: Plan) -> Item | None:
    row = change.before if wanted.endswith("OLD") else change.after
    if row is None:
        return None
    if wanted.startswith("ALL"):
        return row.item
    return projected(row.item, plan.update.paths) if plan.update is not None else None


def put(table: Table, request: Request, plan: Plan) -> Change:
    """What a Put does. Raises Refused."""
    values = plan.values(request.get("ExpressionAttributeValues"))
    canonical = attributes.canonical
    item = {name: canonical(attribute) for name, attribute in request["Item"].items()}
    key = table.key_of_item(item)
    if table.indexes:
        check_index_keys(table, item, is_update=False)
    size = attributes.size_of_item(item)
    if size > MAX_ITEM_BYTES:
        raise invalid(TOO_LARGE)
    before = table.rows.get(key)
    _check(plan, before, values, request)
    return Change(table, key, before, Row(item, size))


def delete(table: Table, request: Request, plan: Plan) -> Change:
    """What a Delete does. Raises Refused."""
    values = plan.values(request.get("ExpressionAttributeValues"))
    key = table.primary_key(request["Key"])
    before = table.rows.get(key)
    _check(plan, before, values, request)
    return Change(table, key, before, None)


def condition_check(table: Table, request: Request, plan: Plan) -> Change:
    """What a ConditionCheck does: nothing, if the condition holds. Raises Refused."""
    if plan.condition is None:
        raise invalid("The ConditionExpression of a ConditionCheck is required")
    change = delete(table, request, plan)
    return change._replace(after=change.before)


def update(table: Table, request: Request, plan: Plan) -> Change:
    """What an Update does. Raises Refused."""
    values = plan.values(request.get("ExpressionAttributeValues"))
    key = table.primary_key(request["Key"])
    before = table.rows.get(key)
    _check(plan, before, values, request)
    row = before if before is not None else _of_key(table, key)
    if plan.update is None:
        return Change(table, key, before, row)
    item, size = row.item, row.size
    types = table.schema.types
    for name, _ in plan.update.changed:
        if name in types:
            raise invalid_parameter(f"Cannot update attribute {name}. This attribute is part of the key")
    after = plan.update.apply(item, values)
    size_of = attributes.size_of
    for name, name_size in plan.update.changed:
        old, new = item.get(name), after.get(name)
        if old is not new and old != new:
            if old is not None:
                size -= name_size + size_of(old)
            if new is not None:
                size += name_size + size_of(new)
    if size > MAX_ITEM_BYTES:
        raise invalid("Item size to update has exceeded the maximum allowed size")
    if table.indexes and not table.index_names.isdisjoint(after):
        check_index_keys(table, after, is_update=True)
    return Change(table, key, before, Row(after, size))


def _of_key(table: Table, key: Key) -> Row:
    item = table.key_attributes(key)
    return Row(item, attributes.size_of_item(item))


def _check(plan: Plan, before: Row | None, values: dict[str, Any], request: Request) -> None:
    """Raises Refused if the condition does not hold."""
    if plan.condition is None or plan.condition(before.item if before else {}, values):
        return
    if before is not None and request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD":
        raise Refused(CONDITION_FAILED, "The conditional request failed", Item=before.item)
    raise Refused(CONDITION_FAILED, "The conditional request failed")


def batch_write_item(tables: Tables, request: Request, apply: Apply) -> Answer:
    wanted = request["RequestItems"]
    count = sum(map(len, wanted.values()))
    if not 0 < count <= MAX_BATCH:
        raise invalid(
            "Too many items requested for the BatchWriteItem call" if count else "RequestItems must not be empty"
        )
    changes = []
    for name, batch in wanted.items():
        table = table_of(tables, {"TableName": name})
        of_table = [_batched(table, one) for one in batch]
        if len({change.key for change in of_table}) < len(of_table):
            raise invalid("Provided list of item keys contains duplicates")
        changes += of_table
    apply(changes)
    return _with_write_capacity({"UnprocessedItems": {}}, request, changes, 1)


def _batched(table: Table, one: Request) -> Change:
    if len(one) != 1 or not one.keys() <= {"PutRequest", "DeleteRequest"}:
        raise invalid("Supplied WriteRequest must contain exactly one of PutRequest and DeleteRequest")
    compute = put if "PutRequest" in one else delete
    return compute(table, *_unconditional(one))


def _unconditional(one: Request) -> tuple[Request, Plan]:
    (request,) = one.values()
    return request, plan_of({})


TRANSACTED = {"Put": put, "Update": update, "Delete": delete, "ConditionCheck": condition_check}


def transact_write_items(tables: Tables, request: Request, apply: Apply) -> Answer:
    wanted = request["TransactItems"]
    if not 0 < len(wanted) <= MAX_TRANSACTION:
        raise invalid(
            "1 validation error detected: Value at 'transactItems' failed to satisfy constraint: "
            f"Member must have length between 1 and {MAX_TRANSACTION}"
        )
    if len(request.get("ClientRequestToken") or "") > MAX_TOKEN:
        raise invalid(f"The ClientRequestToken must have at most {MAX_TOKEN} characters")
    prepared = [_prepared(tables, one) for one in wanted]
    keys = [(table.name, key) for kind, table, one, _ in prepared if (key := _key_of(table, kind, one)) is not None]
    if len(set(keys)) < len(keys):
        raise invalid("Transaction request cannot include multiple operations on one item")
    changes, reasons = [], []
    for kind, table, one, plan in prepared:
        try:
            changes.append(TRANSACTED[kind](table, one, plan))
            reasons.append({"Code": "None"})
        except Refused as refused:
            reasons.append(_reason(refused))
    codes = [reason["Code"] for reason in reasons]
    if len(changes) < len(prepared):
        raise Refused(
            "TransactionCanceledException",
            f"Transaction cancelled, please refer cancellation reasons for specific reasons [{', '.join(codes)}]",
            CancellationReasons=reasons,
        )
    sizes = (max((row.size for row in (c.before, c.after) if row), default=0) for c in changes)
    if sum(sizes) > MAX_TRANSACTION_BYTES:
        raise invalid("Transaction request size has exceeded the maximum allowed size")
    apply([change for change in changes if change.before is not change.after])
    return _with_write_capacity({}, request, changes, 2)


def _prepared(tables: Tables, one: Request) -> tuple[str, Table, Request, Plan]:
    if len(one) != 1 or not one.keys() <= TRANSACTED.keys():
        raise invalid("TransactItems can only contain one of Check, Put, Update or Delete")
    ((kind, request),) = one.items()
    return kind, table_of(tables, request), request, plan_of(request)


def _key_of(table: Table, kind: str, request: Request) -> Key | None:
    """The key of an action; None of a wrong one, for which the transaction is canceled."""
    given = request["Item" if kind == "Put" else "Key"]
    try:
        return table.primary_key({name: given[name] for name in table.schema.names})
    except (Refused, KeyError):
        return None


def _reason(refused: Refused) -> dict[str, Any]:
    code = {CONDITION_FAILED: "ConditionalCheckFailed", "ValidationException": "ValidationError"}.get(refused.code)
    if code is None:
        raise refused
    return {"Code": code, "Message": refused.message, **refused.more}


def _with_write_capacity(answer: Answer, request: Request, changes: list[Change], factor: int) -> Answer:
    units: dict[str, capacity.Units] = {}
    for change in changes:
        used = capacity.write_units(change.table, change.before, change.after)
        capacity.add(units.setdefault(change.table.name, {}), used)
    accounts = [capacity.report(request, name, used, factor) for name, used in units.items()]
    told = [account for account in accounts if account is not None]
    if told:
        answer["ConsumedCapacity"] = told
    return answer
