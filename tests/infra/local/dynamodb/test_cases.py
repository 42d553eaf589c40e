"""The same answers and errors from our engine, in memory and over SQLite, from dynoxide, and from moto."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.fixtures import dynoxide
from tests.fixtures.dynamodb_peers import client_at, moto_client
from tests.infra.local.dynamodb import differences
from tests.infra.local.dynamodb.answers import Database, check, unordered
from tests.infra.local.dynamodb.cases import GROUPS
from tests.infra.local.dynamodb.cases.forms import THINGS, Case, attributes, key, thing
from tests.infra.local.dynamodb.engines import in_memory, over_a_file

PEERS = {"moto": differences.MOTO, "dynoxide": differences.DYNOXIDE}
"""Databases with known differences; each of the others has none."""


@pytest.fixture(scope="module", params=["memory", "file", "moto", "dynoxide"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    match request.param:
        case "memory":
            yield in_memory()
        case "file":
            with over_a_file() as database:
                yield database
        case "moto":
            yield Database(moto_client())
        case "dynoxide":
            with dynoxide.needed(), dynoxide.running() as url:
                yield Database(client_at(url))


@pytest.fixture
def known(request: pytest.FixtureRequest) -> dict[str, dict[str, tuple[str, ...]]]:
    return PEERS.get(request.node.callspec.params["database"], {})


@pytest.mark.parametrize("group", GROUPS)
def test_answers_are_as_documented(
    database: Database, known: dict[str, dict[str, tuple[str, ...]]], group: str
) -> None:
    found = {case.name: said for case in GROUPS[group] if (said := _difference(case, database)) is not None}
    expected = differences.names(known, group)
    assert {name: said for name, said in found.items() if name not in expected} == {}
    assert expected - found.keys() == set(), "no longer different: the entries of differences.py can go"


def _difference(case: Case, database: Database) -> str | None:
    try:
        check(case, database)
    # A peer may raise anything where it does not know a request, and that is a difference.
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def test_a_name_is_one_cases() -> None:
    for group, cases in GROUPS.items():
        names = sorted(case.name for case in cases)
        assert [name for name, following in pairwise(names) if name == following] == [], group
        assert differences.names(differences.MOTO | differences.DYNOXIDE, group) <= set(names), group


def test_segments_are_the_table_and_no_item_is_in_two(database: Database) -> None:
    items = [thing(str(number), part) for number in range(10) for part in "xy"]
    database.fill(THINGS, items)
    for segments in (1, 5):
        for limit in (None, 4):
            told = {"TableName": THINGS, "TotalSegments": segments, **({"Limit": limit} if limit else {})}
            pages = [page for at in range(segments) for page in database.pages("Scan", {**told, "Segment": at})]
            assert unordered(row for page in pages for row in page["Items"]) == unordered(map(attributes, items))


def test_pages_are_the_table_also_when_each_last_item_is_deleted_in_between(database: Database) -> None:
    items = [thing(str(number), part) for number in range(6) for part in "xy"]
    database.fill(THINGS, items)
    found = []
    for page in database.pages("Scan", {"TableName": THINGS, "Limit": 3}):
        found += page["Items"]
        if "LastEvaluatedKey" in page:
            database.ask("DeleteItem", {"TableName": THINGS, "Key": page["LastEvaluatedKey"]})
    assert unordered(found) == unordered(map(attributes, items))


@pytest.mark.parametrize("operation", ["Scan", "Query"])
def test_a_page_ends_before_more_than_1_megabyte(database: Database, operation: str) -> None:
    items = [thing("a", str(number), v="v" * 300_000) for number in range(7)]
    database.fill(THINGS, items)
    condition = {"KeyConditionExpression": "id = :id", "ExpressionAttributeValues": {":id": {"S": "a"}}}
    pages = list(database.pages(operation, {"TableName": THINGS, **(condition if operation == "Query" else {})}))
    assert len(pages) > 1
    assert all(page["Count"] <= 4 for page in pages)
    assert unordered(row for page in pages for row in page["Items"]) == unordered(map(attributes, items))


def test_a_batch_of_more_than_16_megabytes_is_read_in_parts(database: Database) -> None:
    keys = [key("a", str(number)) for number in range(48)]
    database.fill(THINGS, [thing("a", str(number), v="v" * 390_000) for number in range(48)])
    found, asked = [], {THINGS: {"Keys": keys}}
    while asked:
        answer = database.ask("BatchGetItem", {"RequestItems": asked})
        assert sum(len(row["v"]["S"]) for row in answer["Responses"][THINGS]) <= 16 * 1024 * 1024
        found += answer["Responses"][THINGS]
        asked = answer["UnprocessedKeys"]
    assert len(found) == len(keys)
