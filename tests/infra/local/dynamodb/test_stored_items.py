"""Items and keys in the file are those of the releases before."""

from __future__ import annotations

from decimal import Decimal

import pytest

from infra.local.dynamodb.attributes import Item
from infra.local.dynamodb.stored_items import decoded, encoded, key_text
from infra.local.dynamodb.table import Key, Table
from tests.fixtures.embedded_client import TABLE, thing

ITEM: Item = {
    "b": {"B": b"\x00\xff"},
    "bs": {"BS": [b"\x00", b"\x01"]},
    "l": {"L": [{"B": b"\x02"}, {"M": {"deep": {"L": [{"BOOL": True}, {"NULL": True}]}}}]},
    "m": {"M": {"a": {"S": "ü"}}},
}


def test_an_item_comes_back_as_it_was() -> None:
    assert decoded(encoded(ITEM)) == ITEM


def test_bytes_are_base64_as_they_were_in_0_1_0() -> None:
    assert encoded({"b": {"B": b"\x00\xff"}}) == b'{"b":{"B":"AP8="}}'


def test_what_older_releases_wrote_becomes_canonical() -> None:
    stored = b'{"n":{"N":"1.0"},"s":{"SS":["b","a"]},"ns":{"NS":["10","9"]}}'
    assert decoded(stored) == {"n": {"N": "1"}, "s": {"SS": ["a", "b"]}, "ns": {"NS": ["9", "10"]}}


@pytest.mark.parametrize(
    ("kind", "key", "text"),
    [("S", ("a", "x"), '[["S","a"],["S","x"]]'), ("N", ("a", Decimal("1.50")), '[["S","a"],["N","1.5"]]')],
)
def test_the_text_of_a_key_is_that_of_0_1_0(kind: str, key: Key, text: str) -> None:
    definitions = [{"AttributeName": "id", "AttributeType": "S"}, {"AttributeName": "part", "AttributeType": kind}]
    table = Table({**TABLE, "AttributeDefinitions": definitions, "GlobalSecondaryIndexes": []})
    assert key_text(table, key) == text
    assert thing("a")["id"] == {"S": "a"}
