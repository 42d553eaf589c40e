"""Items and keys as the store keeps them: JSON, with bytes as base64."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec

from infra.local.dynamodb import attributes
from infra.local.dynamodb.attributes import Item

if TYPE_CHECKING:
    from infra.local.dynamodb.table import Key, Table


class StoredAttribute(TypedDict, total=False):
    """An attribute as it is in JSON: the types make the decoder turn base64 into bytes again."""

    S: str
    N: str
    B: bytes
    BOOL: bool
    NULL: bool
    SS: list[str]
    NS: list[str]
    BS: list[bytes]
    L: list[StoredAttribute]
    M: dict[str, StoredAttribute]


_DECODER = msgspec.json.Decoder(dict[str, StoredAttribute])
_ENCODER = msgspec.json.Encoder()


def encoded(item: Item) -> bytes:
    return _ENCODER.encode(item)


def decoded(stored: bytes) -> Item:
    """An item in canonical form: older releases wrote some numbers and sets otherwise."""
    item: Any = _DECODER.decode(stored)
    for name, attribute in item.items():
        if not ("S" in attribute or "B" in attribute or "BOOL" in attribute):
            item[name] = attributes.canonical(attribute)
    return item  # type: ignore[no-any-return]


def key_text(table: Table, key: Key) -> str:
    """The text of a key. 1 and 1.0 are one key."""
    parts = zip(table.schema.names, key, strict=True)
    return _ENCODER.encode([[table.schema.types[name], _text(value)] for name, value in parts]).decode()


def _text(value: Any) -> str:
    return str(value.normalize(attributes.ANY_SIZE) if isinstance(value, Decimal) else value)
