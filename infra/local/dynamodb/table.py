"""A table in memory: its items by key, its partitions in order, and its global secondary indexes.

Rows are replaced and never changed, so that a snapshot is a copy of the dictionaries, and a reader keeps what it read.
"""

from __future__ import annotations

import operator
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf
from typing import Any
from zlib import crc32

from infra.local.dynamodb import attributes
from infra.local.dynamodb.attributes import Attribute, Item, sortable
from infra.local.dynamodb.refusals import Refused, invalid, invalid_parameter
from infra.local.dynamodb.rows import Row

Key = tuple[Any, ...]
"""The values of the primary key's attributes, as `sortable` returns them."""
TOKENS = 1 << 32
"""The partitions of a table are in the order of a number below this, as DynamoDB orders them by a hash."""
MAX_HASH_KEY_BYTES, MAX_RANGE_KEY_BYTES = 2048, 1024
NO_MATCH = "The provided key element does not match the schema"


@dataclass(frozen=True)
class KeySchema:
    """The key of a table or of an index: the partition key's name, the sort key's if there is one, and their types."""

    hash_name: str
    range_name: str | None
    types: dict[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        return (self.hash_name,) if self.range_name is None else (self.hash_name, self.range_name)


def token_of(hash_value: Any) -> int:
    """The place of a partition in a scan."""
    content = hash_value if isinstance(hash_value, bytes) else str(hash_value).encode("utf-8", "surrogatepass")
    return crc32(content)


def in_range(entries: list[Any], sign: str, limits: list[Any], sort_value: Callable[[Any], Any]) -> tuple[int, int]:
    """Where the entries begin and end whose sort value fulfills a condition of a query. `entries` are in order."""
    first, end = 0, len(entries)
    if sign in ("=", ">=", "BETWEEN", "begins_with"):
        first = bisect_left(entries, limits[0], key=sort_value)
    elif sign == ">":
        first = bisect_right(entries, limits[0], key=sort_value)
    if sign in ("=", "<="):
        end = bisect_right(entries, limits[0], key=sort_value)
    elif sign == "<":
        end = bisect_left(entries, limits[0], key=sort_value)
    elif sign == "BETWEEN":
        end = bisect_right(entries, limits[1], key=sort_value)
    elif sign == "begins_with":
        prefix = limits[0]
        end = bisect_left(entries, True, first, key=lambda entry: not sort_value(entry).startswith(prefix))
    return first, max(first, end)


class Index:
    """A global secondary index. An entry is the sort key's value, if the index has one, and the item's key."""

    def __init__(self, name: str, schema: KeySchema, shown: frozenset[str] | None) -> None:
        self.name, self.schema = name, schema
        self.shown = shown
        """The attributes that it has; None for all."""
        self.partitions: dict[Any, list[tuple[Any, Key]]] = {}

    def entry(self, item: Item, key: Key) -> tuple[Any, tuple[Any, Key]] | None:
        """The partition and the entry of an item; None of an item that the index leaves out."""
        schema = self.schema
        hash_attribute = item.get(schema.hash_name)
        if hash_attribute is None:
            return None
        sort_value = None
        if schema.range_name is not None:
            range_attribute = item.get(schema.range_name)
            if range_attribute is None:
                return None
            kind = schema.types[schema.range_name]
            sort_value = sortable(kind, range_attribute[kind])
        kind = schema.types[schema.hash_name]
        return sortable(kind, hash_attribute[kind]), (sort_value, key)

    def replace(self, key: Key, before: Item | None, after: Item | None) -> None:
        """An item became another one, was made, or is gone."""
        if before is not None and after is not None and self._is_same(before, after):
            return
        left = self.entry(before, key) if before is not None else None
        come = self.entry(after, key) if after is not None else None
        if left == come:
            return
        if left is not None:
            partition, entry = left
            entries = self.partitions[partition]
            del entries[bisect_left(entries, entry)]
            if not entries:
                del self.partitions[partition]
        if come is not None:
            partition, entry = come
            insort(self.partitions.setdefault(partition, []), entry)

    def _is_same(self, before: Item, after: Item) -> bool:
        """Whether the key's attributes are the same objects, as they are after most updates."""
        hash_name, range_name = self.schema.hash_name, self.schema.range_name
        return before.get(hash_name) is after.get(hash_name) and (
            range_name is None or before.get(range_name) is after.get(range_name)
        )

    def append(self, key: Key, item: Item) -> None:
        """An item was made. Its partition is in order again after `sort`."""
        found = self.entry(item, key)
        if found is not None:
            self.partitions.setdefault(found[0], []).append(found[1])

    def sort(self) -> None:
        for entries in self.partitions.values():
            entries.sort()

    def copy(self) -> Index:
        made = Index(self.name, self.schema, self.shown)
        made.partitions = {partition: entries.copy() for partition, entries in self.partitions.items()}
        return made

    def projection(self, item: Item) -> Item:
        """What the index has of an item."""
        if self.shown is None:
            return item
        return {name: item[name] for name in self.shown if name in item}

    def size(self, row: Row) -> int:
        """Bytes of what the index has of a row."""
        return row.size if self.shown is None else attributes.size_of_item(self.projection(row.item))

    def written(self, before: Row | None, after: Row | None) -> list[int]:
        """Bytes of each write that the index needs when a row becomes another one."""
        if (
            before is not None
            and after is not None
            and self.shown is not None
            and self._is_same(before.item, after.item)
        ):
            extra = self.shown - set(self.schema.names)
            if all(before.item.get(name) == after.item.get(name) for name in extra):
                return []
        left = before if before is not None and self.entry(before.item, ()) else None
        come = after if after is not None and self.entry(after.item, ()) else None
        if left is None or come is None:
            return [self.size(row) for row in (left, come) if row is not None]
        sizes = [self.size(left), self.size(come)]
        if self.entry(left.item, ()) != self.entry(come.item, ()):
            return sizes  # one entry is deleted, the other is put
        return [max(sizes)] if self.projection(left.item) != self.projection(come.item) else []


class Table:
    """`rows` are its items by key. `time_to_live` is the attribute with the time at which an item expires."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.name: str = request["TableName"]
        self.request = request
        types = {one["AttributeName"]: one["AttributeType"] for one in request["AttributeDefinitions"]}
        self.schema = _schema(request["KeySchema"], types)
        self._parts = [(name, self.schema.types[name]) for name in self.schema.names]
        self.indexes = {
            index["IndexName"]: _index(index, types, self.schema)
            for index in request.get("GlobalSecondaryIndexes") or []
        }
        self.index_names = frozenset(name for index in self.indexes.values() for name in index.schema.names)
        self.time_to_live: str | None = None
        self._expiries: list[tuple[float, Key]] = []
        self.rows: dict[Key, Row] = {}
        self._ranges: dict[Any, list[Any]] = {}
        self._tokens: list[tuple[int, Any]] = []

    # Keys

    def primary_key(self, given: Item) -> Key:
        """The key of a request for one item. Raises Refused."""
        if len(given) != len(self._parts):
            raise invalid(NO_MATCH)
        return self._key(given, _mismatch)

    def key_of_item(self, item: Item) -> Key:
        """The key of an item to be stored, which is canonical. Raises Refused."""
        return self._key(item, _missing_or_mistyped)

    def _key(self, given: Item, refusal: Callable[[str, str, Item], Refused]) -> Key:
        values = []
        for name, kind in self._parts:
            attribute = given.get(name)
            value = attribute.get(kind) if attribute is not None else None
            if value is None:
                raise refusal(name, kind, given)
            if kind == "N":
                value = sortable(kind, attributes.number(value))
            elif not isinstance(value, str if kind == "S" else bytes):
                raise refusal(name, kind, given)
            elif not value:
                raise invalid(
                    "One or more parameter values are not valid. The AttributeValue for a key attribute cannot "
                    f"contain an empty {attributes.NAMES[kind].lower()} value. Key: {name}"
                )
            elif len(value) > MAX_RANGE_KEY_BYTES // 4:
                self._refuse_long(name, value)
            values.append(value)
        return tuple(values)

    def _refuse_long(self, name: str, value: str | bytes) -> None:
        size = len(value) if isinstance(value, bytes) else attributes.size_of_text(value)
        if name == self.schema.hash_name:
            if size > MAX_HASH_KEY_BYTES:
                raise invalid_parameter(
                    f"Size of hashkey has exceeded the maximum size limit of{MAX_HASH_KEY_BYTES} bytes"
                )
        elif size > MAX_RANGE_KEY_BYTES:
            raise invalid_parameter(
                f"Aggregated size of all range keys has exceeded the size limit of {MAX_RANGE_KEY_BYTES} bytes"
            )

    def key_attributes(self, key: Key) -> Item:
        """The attributes of a key."""
        return {
            name: {kind: attributes.written(value) if kind == "N" else value}
            for (name, kind), value in zip(self._parts, key, strict=True)
        }

    # Rows

    def put(self, key: Key, row: Row | None) -> None:
        """The row is another one from now on; None for one that is gone."""
        before = self.rows.get(key)
        if row is not None:
            self.rows[key] = row
            if before is None:
                self._insert(key)
            if self.time_to_live is not None:
                self._note_expiry(key, row)
        elif before is not None:
            del self.rows[key]
            self._remove(key)
        for index in self.indexes.values():
            index.replace(key, before.item if before else None, row.item if row else None)

    def load(self, rows: Iterable[tuple[Key, Row]]) -> None:
        """The rows are these and no others from now on. Each is looked at once: it may be packed by then."""
        self.rows, self._ranges, self._expiries = {}, {}, []
        for index in self.indexes.values():
            index.partitions = {}
        for key, row in rows:
            self.rows[key] = row
            for index in self.indexes.values():
                index.append(key, row.item)
            if self.time_to_live is not None:
                self._note_expiry(key, row)
        hashes = dict.fromkeys(key[0] for key in self.rows)
        if self.schema.range_name is not None:
            for hash_value, range_value in self.rows:
                self._ranges.setdefault(hash_value, []).append(range_value)
            for ranges in self._ranges.values():
                ranges.sort()
        self._tokens = sorted((token_of(hash_value), hash_value) for hash_value in hashes)
        for index in self.indexes.values():
            index.sort()

    def copy(self) -> Table:
        """Another table with the same rows, which changes by itself."""
        made = Table(self.request)
        made.time_to_live, made._expiries = self.time_to_live, self._expiries.copy()
        made.rows = self.rows.copy()
        made._ranges = {hash_value: ranges.copy() for hash_value, ranges in self._ranges.items()}
        made._tokens = self._tokens.copy()
        made.indexes = {name: index.copy() for name, index in self.indexes.items()}
        return made

    # Expiry

    def expire_by(self, name: str | None) -> None:
        """Items expire by the attribute of that name from now on, in epoch seconds; None: by none."""
        self.time_to_live, self._expiries = name, []
        if name is not None:
            for key, row in self.rows.items():
                self._note_expiry(key, row)

    def expired(self, now: float) -> dict[Key, Row]:
        """The rows whose time has come since they were asked for the last time. `now`: epoch seconds."""
        found = {}
        while self._expiries and self._expiries[0][0] <= now:
            _, key = heappop(self._expiries)
            row = self.rows.get(key)
            if row is not None and self._expiry(row) <= now:
                found[key] = row
        return found

    def _note_expiry(self, key: Key, row: Row) -> None:
        expiry = self._expiry(row)
        if expiry < inf:
            heappush(self._expiries, (expiry, key))

    def _expiry(self, row: Row) -> float:
        attribute: Any = row.item.get(self.time_to_live or "")
        return float(attribute["N"]) if attribute is not None and "N" in attribute else inf

    def _insert(self, key: Key) -> None:
        hash_value = key[0]
        if self.schema.range_name is not None:
            ranges = self._ranges.get(hash_value)
            if ranges is not None:
                insort(ranges, key[1])
                return
            self._ranges[hash_value] = [key[1]]
        insort(self._tokens, (token_of(hash_value), hash_value))

    def _remove(self, key: Key) -> None:
        hash_value = key[0]
        if self.schema.range_name is not None:
            ranges = self._ranges[hash_value]
            del ranges[bisect_left(ranges, key[1])]
            if ranges:
                return
            del self._ranges[hash_value]
        del self._tokens[bisect_left(self._tokens, (token_of(hash_value), hash_value))]

    # Reading in order

    def partition(self, hash_value: Any, sort: tuple[str, list[Any]] | None, start: Key | None, up: bool) -> list[Key]:
        """The keys of a partition after `start`. `sort`: the operator and the limits of a condition on the sort key."""
        if self.schema.range_name is None:
            return [(hash_value,)] if (hash_value,) in self.rows and start is None else []
        ranges = self._ranges.get(hash_value, [])
        first, end = in_range(ranges, *sort, _itself) if sort else (0, len(ranges))
        if start is not None:
            first, end = _after(ranges, start[1], first, end, up)
        found = ranges[first:end] if up else ranges[first:end][::-1]
        return [(hash_value, range_value) for range_value in found]

    def index_partition(
        self, index: Index, hash_value: Any, sort: tuple[str, list[Any]] | None, start: tuple[Any, Key] | None, up: bool
    ) -> list[Key]:
        """The keys of an index's partition, in its order, after the entry `start`."""
        entries = index.partitions.get(hash_value, [])
        first, end = in_range(entries, *sort, _first) if sort else (0, len(entries))
        if start is not None:
            first, end = _after(entries, start, first, end, up)
        found = entries[first:end] if up else entries[first:end][::-1]
        return [key for _, key in found]

    def scanned(self, segment: int, segments: int, start: Key | None) -> Iterator[Key]:
        """The keys of a segment in order, after `start`."""
        low, high = segment * TOKENS // segments, (segment + 1) * TOKENS // segments
        first = bisect_left(self._tokens, (low,))
        end = bisect_left(self._tokens, (high,))
        if start is not None:
            place = (token_of(start[0]), start[0])
            first = max(first, bisect_left(self._tokens, place))
            if first < end and self._tokens[first] == place:
                yield from self.partition(start[0], None, start, True)
                first += 1
        if self.schema.range_name is None:
            yield from ((hash_value,) for _, hash_value in self._tokens[first:end])
            return
        for _, hash_value in self._tokens[first:end]:
            for range_value in self._ranges[hash_value]:
                yield hash_value, range_value

    def index_scanned(self, index: Index, segment: int, segments: int, start: tuple[Any, Any] | None) -> Iterator[Key]:
        """The keys of a segment of an index. `start`: a partition, and the entry in it that is left behind."""
        low, high = segment * TOKENS // segments, (segment + 1) * TOKENS // segments
        tokens = sorted((token, value) for value in index.partitions if low <= (token := token_of(value)) < high)
        if start is not None:
            place = (token_of(start[0]), start[0])
            tokens = [token for token in tokens if token >= place]
        for _, hash_value in tokens:
            after = start[1] if start is not None and hash_value == start[0] else None
            yield from self.index_partition(index, hash_value, None, after, True)


def _after(entries: list[Any], start: Any, first: int, end: int, up: bool) -> tuple[int, int]:
    """The part of a range that a reader in this direction has before it."""
    if up:
        return max(first, bisect_right(entries, start)), end
    return first, max(first, min(end, bisect_left(entries, start)))


def _itself(value: Any) -> Any:
    return value


_first = operator.itemgetter(0)


def _mismatch(name: str, kind: str, given: Item) -> Refused:
    return invalid(NO_MATCH)


def _missing_or_mistyped(name: str, kind: str, item: Item) -> Refused:
    if name not in item:
        return invalid_parameter(f"Missing the key {name} in the item")
    (found,) = item[name]
    return invalid_parameter(f"Type mismatch for key {name} expected: {kind} actual: {found}")


def _schema(given: Iterable[dict[str, str]], types: dict[str, str]) -> KeySchema:
    """Raises Refused for one that DynamoDB does not take."""
    names = {part["KeyType"]: part["AttributeName"] for part in given}
    if "HASH" not in names or names.keys() - {"HASH", "RANGE"}:
        raise invalid("Invalid KeySchema: The first KeySchemaElement is not a HASH key type")
    for name in names.values():
        if types.get(name) not in ("S", "N", "B"):
            raise invalid_parameter(
                "Some index key attributes are not defined in AttributeDefinitions. "
                f"Keys: [{name}], AttributeDefinitions: [{', '.join(types)}]"
            )
    return KeySchema(names["HASH"], names.get("RANGE"), {name: types[name] for name in names.values()})


def _index(given: dict[str, Any], types: dict[str, str], table: KeySchema) -> Index:
    schema = _schema(given["KeySchema"], types)
    projection = given["Projection"]
    kind = projection["ProjectionType"]
    if kind == "ALL":
        return Index(given["IndexName"], schema, None)
    if kind not in ("KEYS_ONLY", "INCLUDE"):
        raise invalid(f"Unknown ProjectionType: {kind}")
    shown = {*table.names, *schema.names, *projection.get("NonKeyAttributes", [])}
    return Index(given["IndexName"], schema, frozenset(shown))


def check_index_keys(table: Table, item: Item, is_update: bool) -> None:
    """Raises Refused for an item with an attribute that is an index's key and has another type, or is empty."""
    for index in table.indexes.values():
        for name, kind in index.schema.types.items():
            attribute: Attribute | None = item.get(name)
            if attribute is None:
                continue
            if kind not in attribute:
                (found,) = attribute
                if is_update:
                    raise invalid(
                        "The update expression attempted to update the secondary index key to unsupported type"
                    )
                raise invalid_parameter(
                    f"Type mismatch for Index Key {name} Expected: {kind} Actual: {found} IndexName: {index.name}"
                )
            if not attribute[kind]:
                raise invalid(
                    "One or more parameter values are not valid. A value specified for a secondary index key is not "
                    f"supported. The AttributeValue for a key attribute cannot contain an empty "
                    f"{attributes.NAMES[kind].lower()} value. IndexName: {index.name}, IndexKey: {name}"
                )
