"""DynamoDB inside this process: moto's, made atomic and durable.

    botocore -- before-send --> Engine (one lock) --> Handler --> Backend --> Table
                                   |                                            |
                                   +---- the touched items as they now are ---> Store

moto alone loses updates between threads and forgets everything at exit. Here one request is handled at a time, and the
items that it touched are on disk before it is answered. What fails is put back from disk, which also spares moto its
copy of whole tables per transaction. Only clients of DynamoDB are answered; nothing else in the process is changed.
"""

from __future__ import annotations

import base64
import copy
import inspect
import logging
import sqlite3
from decimal import Decimal
from threading import Lock
from typing import Any

import msgspec
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.handlers import BUILTIN_HANDLERS
from moto.core.botocore_stubber import MockRawResponse
from moto.core.common_types import TYPE_RESPONSE
from moto.core.request import normalize_request
from moto.core.responses import ActionResult
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType, Item
from moto.dynamodb.models.table import Table as MotoTable
from moto.dynamodb.models.utilities import dynamo_to_dict
from moto.dynamodb.responses import DynamoHandler

from infra.local.store import Change, Store

log = logging.getLogger(__name__)

REGION = "us-east-1"
ACCOUNT = "123456789012"

READS = {"GetItem", "BatchGetItem", "Query", "Scan", "TransactGetItems"}
WRITES = {"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"}
TABLES = {"CreateTable", "DescribeTable", "ListTables", "UpdateTimeToLive", "DescribeTimeToLive"}
"""What the engine keeps its promises for. Anything else is refused."""

QUERY = inspect.signature(MotoTable.query)
"""Names moto's parameters, whichever of them its callers give by position."""

Touched = list[tuple[str, dict[str, Any]]]
"""Table, and a mapping that has the key's attributes."""


class Table(MotoTable):
    """moto's, without its costs: a query looks at one hash key's items only, and a copy is not one."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Table:
        """moto copies tables to undo a failed transaction; the engine undoes it from disk."""
        return self

    def query(self, hash_key: DynamoType | None, *args: Any, **kwargs: Any) -> Any:
        view = copy.copy(self)
        given = QUERY.bind(self, hash_key, *args, **kwargs).arguments
        if given.get("index_name"):
            view.items = self._having(given["hash_key_conditions"])  # type: ignore[assignment]
        else:
            view.items = {hash_key: self.items[hash_key]} if hash_key in self.items else {}  # type: ignore[assignment]
        return MotoTable.query(view, hash_key, *args, **kwargs)

    def _having(self, conditions: list[tuple[str, DynamoType]]) -> dict[DynamoType, Any]:
        def meets(item: Item) -> bool:
            return all(name in item.attrs and item.attrs[name] == value for name, value in conditions)

        if not self.has_range_key:
            return {key: item for key, item in self.items.items() if meets(item)}  # type: ignore[arg-type]
        found = {
            hash_key: {key: item for key, item in items.items() if meets(item)}
            for hash_key, items in self.items.items()
        }
        return {hash_key: items for hash_key, items in found.items() if items}


class Backend(DynamoDBBackend):
    """A created table starts with what is on disk."""

    def __init__(self, store: Store) -> None:
        super().__init__(REGION, ACCOUNT)
        self._store = store

    def create_table(self, name: str, *args: Any, **kwargs: Any) -> MotoTable:
        table = super().create_table(name, *args, **kwargs)
        table.__class__ = Table  # type: ignore[type-abstract]
        for item in self._store.items(name):
            table.put_item(_loaded(item))
        return table

    def save(self, touched: Touched) -> None:
        """Raises sqlite3.Error; then nothing was saved."""
        self._store.apply([self._as_it_is(table, attributes) for table, attributes in touched])

    def restore(self, touched: Touched) -> None:
        """Puts back what is on disk."""
        for table_name, attributes in touched:
            table = self.get_table(table_name)
            hash_key, range_key = self.get_keys_value(table, attributes)
            on_disk = self._store.get(table_name, _key(hash_key, range_key))
            if on_disk is None:
                table.delete_item(hash_key, range_key)
            else:
                table.put_item(_loaded(on_disk))

    def sweep(self, now: float) -> None:
        """Deletes what its time to live has ended for, as DynamoDB does in its own time. `now`: epoch seconds."""
        expired: list[tuple[MotoTable, Item]] = []
        for table in self.tables.values():
            if table.ttl["TimeToLiveStatus"] == "ENABLED":
                name = table.ttl["AttributeName"]
                expired += [(table, item) for item in table.all_items() if _number(item.attrs.get(name)) <= now]
        self._store.apply([(table.name, _key(item.hash_key, item.range_key), None) for table, item in expired])
        for table, item in expired:
            table.delete_item(item.hash_key, item.range_key)

    def _as_it_is(self, table_name: str, attributes: dict[str, Any]) -> Change:
        table = self.get_table(table_name)
        hash_key, range_key = self.get_keys_value(table, attributes)
        item = table.get_item(hash_key, range_key)
        return table_name, _key(hash_key, range_key), msgspec.json.encode(dynamo_to_dict(item.attrs)) if item else None


class Handler(DynamoHandler):
    """One request, against the given backend rather than moto's global ones."""

    def __init__(self, backend: Backend, request: AWSPreparedRequest) -> None:
        super().__init__()
        self._backend = backend
        self.setup_class(normalize_request(request))
        self.action = self._get_action()

    @property
    def dynamodb_backend(self) -> DynamoDBBackend:
        return self._backend

    def touched(self) -> Touched:
        """The items that the request may change."""
        if self.action == "BatchWriteItem":
            requests = [
                (table, next(iter(request.values())))
                for table, batch in self.params["RequestItems"].items()
                for request in batch
            ]
        elif self.action == "TransactWriteItems":
            requests = [
                (request["TableName"], request)
                for item in self.params["TransactItems"]
                for operation, request in item.items()
                if operation != "ConditionCheck"
            ]
        elif self.action in WRITES:
            requests = [(self.params["TableName"], self.params)]
        else:
            requests = []
        return [(table, request["Item"] if "Item" in request else request["Key"]) for table, request in requests]

    def serialized(self, action_result: ActionResult) -> TYPE_RESPONSE:
        """Items are JSON already; moto's walk along the service model takes half of a request's time."""
        if self.action in TABLES or isinstance(action_result.result, Exception):
            return super().serialized(action_result)
        body = msgspec.json.encode(action_result.result, enc_hook=dynamo_to_dict)
        headers = {"Content-Type": "application/x-amz-json-1.0", **self.response_headers}
        return 200, headers, body.decode()


class Engine:
    """Answers botocore's DynamoDB requests. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._backend = Backend(store)
        self._lock = Lock()

    def attach(self) -> None:
        """To every botocore session made from here on."""
        BUILTIN_HANDLERS.append(("before-send.dynamodb", self))

    def __call__(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        status, headers, body = self._answer(Handler(self._backend, request))
        return AWSResponse(request.url, status, headers, MockRawResponse(body))  # type: ignore[arg-type]

    def sweep(self, now: float) -> None:
        with self._lock:
            self._backend.sweep(now)

    def _answer(self, handler: Handler) -> TYPE_RESPONSE:
        if handler.action not in READS | WRITES | TABLES:
            raise NotImplementedError(f"the embedded database does not know {handler.action}")
        touched = handler.touched()
        with self._lock:
            saved = False
            try:
                answer: TYPE_RESPONSE = handler.call_action()
                if answer[0] == 200:
                    self._backend.save(touched)
                    saved = True
                return answer
            except sqlite3.Error as error:
                log.error("cannot write to the data directory: %s", error)
                return 500, {}, '{"__type": "InternalServerError", "message": "the data directory cannot be written"}'
            finally:
                if not saved:
                    self._put_back(touched)
                _forget()

    def _put_back(self, touched: Touched) -> None:
        try:
            self._backend.restore(touched)
        except sqlite3.Error as error:
            log.error("cannot read the data directory, restart the server: %s", error)


def _loaded(stored: bytes) -> dict[str, Any]:
    """An item as moto holds it: in JSON, bytes had become base64, which no longer equals what a condition compares."""
    item: dict[str, Any] = msgspec.json.decode(stored)
    return {name: _with_bytes(attribute) for name, attribute in item.items()}


def _with_bytes(attribute: dict[str, Any]) -> dict[str, Any]:
    ((kind, value),) = attribute.items()
    if kind == "B":
        return {kind: base64.b64decode(value)}
    if kind == "BS":
        return {kind: [base64.b64decode(element) for element in value]}
    if kind == "L":
        return {kind: [_with_bytes(element) for element in value]}
    if kind == "M":
        return {kind: {name: _with_bytes(element) for name, element in value.items()}}
    return attribute


def _forget() -> None:
    """moto keeps every item and copy that it ever made, for a dashboard; a server would run out of memory."""
    for model in (Item, Table):
        model.instances_tracked.clear()  # type: ignore[union-attr]


def _key(hash_key: DynamoType, range_key: DynamoType | None) -> str:
    parts = [hash_key] if range_key is None else [hash_key, range_key]
    return msgspec.json.encode([[part.type, _canonical(part)] for part in parts]).decode()


def _canonical(part: DynamoType) -> str:
    """1 and 1.0 are one key."""
    return str(Decimal(part.value).normalize()) if part.is_number() else str(part.value)


def _number(attribute: DynamoType | None) -> float:
    return float(attribute.value) if attribute is not None and attribute.is_number() else float("inf")
