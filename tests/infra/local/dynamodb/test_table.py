"""Partitions, the order of scans, and indexes, which are kept and never made anew."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.dynamodb.attributes import Item, size_of_item
from infra.local.dynamodb.refusals import Refused
from infra.local.dynamodb.rows import Row
from infra.local.dynamodb.table import Key, Table
from tests.fixtures.embedded_client import TABLE, thing

IDS = st.sampled_from("abcde")
KINDS = st.sampled_from([None, "even", "odd"])
WRITES = st.lists(st.tuples(IDS, IDS, KINDS, st.booleans()))


def write(table: Table, item: Item, is_put: bool = True) -> Key:
    key = table.key_of_item(item)
    table.put(key, Row(item, size_of_item(item)) if is_put else None)
    return key


def filled(writes: Any) -> Table:
    table = Table(TABLE)
    for id_, part, kind, is_put in writes:
        write(table, thing(id_, part, **({"kind": {"S": kind}} if kind else {})), is_put)
    return table


def loaded(table: Table) -> Table:
    """The same rows, with everything made anew."""
    made = Table(TABLE)
    made.load(table.rows.items())
    return made


def in_index(table: Table, kind: str) -> list[Key]:
    return table.index_partition(table.indexes["kinds"], kind, None, None, True)


@given(WRITES)
def test_what_is_kept_with_each_write_is_what_would_be_made_anew(writes: Any) -> None:
    table = filled(writes)
    anew = loaded(table)
    assert list(table.scanned(0, 1, None)) == list(anew.scanned(0, 1, None))
    for kind in ("even", "odd"):
        assert in_index(table, kind) == in_index(anew, kind)
    for id_ in "abcde":
        assert table.partition(id_, None, None, True) == anew.partition(id_, None, None, True)


@given(WRITES, st.integers(1, 5))
def test_segments_have_each_item_once(writes: Any, segments: int) -> None:
    table = filled(writes)
    found = [key for segment in range(segments) for key in table.scanned(segment, segments, None)]
    assert sorted(found) == sorted(table.rows) and len(found) == len(set(found))


@given(WRITES, IDS, IDS)
def test_a_scan_goes_on_after_any_key_whether_or_not_its_item_is_there(writes: Any, id_: str, part: str) -> None:
    table = filled(writes)
    write(table, thing(id_, part))
    whole = list(table.scanned(0, 1, None))
    rest = whole[whole.index((id_, part)) + 1 :]
    assert list(table.scanned(0, 1, (id_, part))) == rest
    write(table, thing(id_, part), is_put=False)
    assert list(table.scanned(0, 1, (id_, part))) == rest


@given(WRITES, st.lists(st.tuples(IDS, IDS, KINDS, st.booleans())))
def test_a_copy_is_not_changed_with_its_table(writes: Any, later: Any) -> None:
    table = filled(writes)
    copy, rows = table.copy(), table.rows.copy()
    evens = in_index(table, "even")
    for id_, part, kind, is_put in later:
        write(table, thing(id_, part, **({"kind": {"S": kind}} if kind else {})), is_put)
    assert copy.rows == rows and in_index(copy, "even") == evens


@pytest.mark.parametrize(
    ("sign", "limits", "found"),
    [
        ("=", ["b"], ["b"]),
        ("<", ["b"], ["a"]),
        ("<=", ["b"], ["a", "b"]),
        (">", ["b"], ["ba", "c"]),
        (">=", ["b"], ["b", "ba", "c"]),
        ("BETWEEN", ["aa", "ba"], ["b", "ba"]),
        ("begins_with", ["b"], ["b", "ba"]),
        ("begins_with", ["bb"], []),
    ],
)
def test_ranges(sign: str, limits: list[str], found: list[str]) -> None:
    table = filled([("x", part, None, True) for part in ("a", "b", "ba", "c")])
    assert table.partition("x", (sign, limits), None, True) == [("x", part) for part in found]
    assert table.partition("x", (sign, limits), None, False) == [("x", part) for part in reversed(found)]


def test_a_number_is_one_key_in_all_its_forms() -> None:
    table = Table(
        {
            "TableName": "numbers",
            "KeySchema": [{"AttributeName": "n", "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": "n", "AttributeType": "N"}],
        }
    )
    assert table.primary_key({"n": {"N": "1"}}) == table.primary_key({"n": {"N": "1.00"}})
    assert table.key_attributes(table.primary_key({"n": {"N": "1.50"}})) == {"n": {"N": "1.5"}}


def test_a_key_of_another_form_is_refused() -> None:
    for wrong in ({"id": {"S": "a"}}, thing("a", more={"S": "x"}), thing("") | {"part": {"N": "1"}}):
        with pytest.raises(Refused, match=r"does not match the schema|empty string"):
            Table(TABLE).primary_key(wrong)
