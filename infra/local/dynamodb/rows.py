"""Rows of a table: an item and its size. What is on disk is in memory as JSON, except for the rows that were used last.

    made ──► item ── committed ──► item and JSON ── others are used ──► JSON ── used ──► item and JSON

An item as dictionaries takes about eight times the memory of its JSON, and most items are lines of timelines that
hardly anybody reads.
"""

from __future__ import annotations

from collections import deque

from infra.local.dynamodb.attributes import Item
from infra.local.dynamodb.stored_items import decoded

MAX_UNPACKED = 4096
"""Rows that are on disk and are kept as dictionaries too: some 12 MiB. The heartbeats of a few thousand workers fit."""


class Row:
    """`size`: bytes of the item, as DynamoDB counts them."""

    __slots__ = ("_item", "_stored", "_unpacked", "size")

    def __init__(self, item: Item, size: int) -> None:
        self.size = size
        self._item: Item | None = item
        self._stored = b""
        self._unpacked: UnpackedRows | None = None

    @property
    def item(self) -> Item:
        """The caller holds the engine's lock, or has made the row and not yet told that it is on disk."""
        item = self._item
        if item is None:
            item = self._item = decoded(self._stored)
            assert self._unpacked is not None, "only a row that is on disk is packed"
            self._unpacked.add(self)
        return item

    def on_disk(self, stored: bytes, unpacked: UnpackedRows) -> None:
        """The row is on disk, and may be packed from now on. `stored` is its item there."""
        self._stored, self._unpacked = stored, unpacked
        unpacked.add(self)

    def pack(self) -> None:
        self._item = None


class UnpackedRows:
    """The rows of an engine that are on disk and not packed: the last `most` of them."""

    def __init__(self, most: int = MAX_UNPACKED) -> None:
        self._most = most
        self._rows: deque[Row] = deque()

    def add(self, row: Row) -> None:
        """Pack the row that is here for longest, if there are too many."""
        self._rows.append(row)
        if len(self._rows) > self._most:
            self._rows.popleft().pack()
