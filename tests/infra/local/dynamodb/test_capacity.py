"""The units of reads and writes, also of what a write changes in an index."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.dynamodb.attributes import size_of_item
from infra.local.dynamodb.capacity import read_units, report, write_units
from infra.local.dynamodb.rows import Row
from infra.local.dynamodb.table import Table
from tests.fixtures.embedded_client import TABLE, thing


def row(**more: Any) -> Row:
    item = thing("a", **more)
    return Row(item, size_of_item(item))


EVEN, ODD = {"kind": {"S": "even"}}, {"kind": {"S": "odd"}}


@pytest.mark.parametrize(("size", "units"), [(0, 1.0), (1, 1.0), (4096, 1.0), (4097, 2.0), (8193, 3.0)])
def test_a_read_costs_a_unit_for_4_kilobytes_and_half_if_it_may_be_old(size: int, units: float) -> None:
    assert read_units(size, True) == units and read_units(size, False) == units / 2


@pytest.mark.parametrize(
    ("before", "after", "in_the_index"),
    [
        (None, row(), 0),
        (None, row(**EVEN), 1),
        (row(**EVEN), row(**EVEN), 0),
        (row(**EVEN), row(**EVEN, other={"S": "x"}), 0),
        (row(**EVEN), row(**ODD), 2),
        (row(**EVEN), row(), 1),
        (row(**EVEN), None, 1),
    ],
)
def test_a_write_costs_more_where_it_changes_an_index(before: Row | None, after: Row | None, in_the_index: int) -> None:
    units = write_units(Table(TABLE), before, after)
    assert units == {"": 1.0, **({"kinds": float(in_the_index)} if in_the_index else {})}


def test_a_write_costs_the_larger_of_the_item_before_and_after() -> None:
    large, small = row(text={"S": "x" * 2000}), row()
    assert write_units(Table(TABLE), large, small) == write_units(Table(TABLE), small, large) == {"": 2.0}


def test_an_account_is_given_as_it_is_wanted() -> None:
    units = {"": 1.0, "kinds": 2.0}
    assert report({}, "things", units) is None
    assert report({"ReturnConsumedCapacity": "NONE"}, "things", units) is None
    total = {"TableName": "things", "CapacityUnits": 6.0}
    assert report({"ReturnConsumedCapacity": "TOTAL"}, "things", units, 2) == total
    assert report({"ReturnConsumedCapacity": "INDEXES"}, "things", units, 2) == {
        **total,
        "Table": {"CapacityUnits": 2.0},
        "GlobalSecondaryIndexes": {"kinds": {"CapacityUnits": 4.0}},
    }
