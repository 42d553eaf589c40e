"""Random sequences of operations have the same answers, errors, and items in the end, whichever database does them."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fixtures import dynoxide
from tests.fixtures.dynamodb_peers import client_at, moto_client
from tests.infra.local.dynamodb.answers import Database, code_of, unordered, unordered_tables
from tests.infra.local.dynamodb.cases.forms import THINGS, Call
from tests.infra.local.dynamodb.engines import Restarted, in_memory, over_a_file
from tests.infra.local.dynamodb.operations import OPERATIONS, RESTART

SEQUENCES = st.lists(OPERATIONS, min_size=12, max_size=30)
MOTO = Database(moto_client())


@given(calls=SEQUENCES)
@settings(max_examples=40)
def test_our_engine_in_memory_and_over_a_file_answers_as_moto(calls: list[Call]) -> None:
    MOTO.fill(THINGS, ())
    try:
        with over_a_file() as database:
            assert_same(calls, in_memory(), database, MOTO)
    finally:
        MOTO.rows(THINGS)


def test_our_engine_answers_as_dynoxide() -> None:
    with dynoxide.needed(), dynoxide.running() as url:
        peer = Database(client_at(url))

        @given(calls=SEQUENCES)
        @settings(max_examples=10)
        def answers_alike(calls: list[Call]) -> None:
            peer.fill(THINGS, ())
            try:
                assert_same(calls, in_memory(), peer)
            finally:
                peer.rows(THINGS)

        answers_alike()


def assert_same(calls: list[Call], first: Database, *others: Database) -> None:
    for number, call in enumerate(calls):
        if call == RESTART:
            for database in others:
                if isinstance(database, Restarted):
                    database.restart()
            continue
        expected = outcome(first, call)
        for database in others:
            assert outcome(database, call) == expected, (number, call, database)
    for database in others:
        assert unordered(database.rows(THINGS)) == unordered(first.rows(THINGS)), database


def outcome(database: Database, call: Call) -> Any:
    """An answer in a form that is equal where answers may differ: without order where none is promised."""
    operation, request = call
    if operation in ("Query", "Scan"):
        return found(operation, request, database)
    answer = database.outcome(call)
    if isinstance(answer, ClientError):
        response: Any = answer.response
        reasons = response.get("CancellationReasons") or ()
        returned = [response.get("Item"), *(reason.get("Item") for reason in reasons)]
        return code_of(answer), unordered([item or {} for item in returned])
    told = {name: unordered([answer[name]]) for name in ("Item", "Attributes") if answer.get(name)}
    return told, unordered_tables(answer.get("Responses"))


def found(operation: str, request: Any, database: Database) -> Any:
    """What all pages have together; in order where the operation has one."""
    pages = list(database.pages(operation, request))
    rows = [row for page in pages for row in page["Items"]]
    counts = [sum(page[name] for page in pages) for name in ("Count", "ScannedCount")]
    if operation == "Scan":
        return unordered(rows), counts
    ranks = [(row["rank"] if "IndexName" in request else row["part"])["S"] for row in rows]
    return unordered(rows), ranks, counts
