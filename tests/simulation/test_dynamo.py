"""The dictionary answers as a real engine does: what a few seeds ask of it is asked again of one, call by call."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError

import tests.fixtures.credentials  # noqa: F401  # credentials, for a database that needs none
from chalicelib import tables
from tests.fixtures import dynoxide
from tests.fixtures.database import reset
from tests.simulation.dynamo import Dynamo, Request
from tests.simulation.entropy import seeded
from tests.simulation.expressions import condition
from tests.simulation.simulation import simulate

SEEDS = range(3)
Call = tuple[str, Request, Any]


class Recorded(Dynamo):
    """Keeps every call with its answer, or the code of its error."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def _make_api_call(self, operation: str, request: Request) -> dict[str, Any]:
        asked = copy.deepcopy(request)
        try:
            answer = super()._make_api_call(operation, request)
        except ClientError as error:
            self.calls.append((operation, asked, error.response["Error"]["Code"]))
            raise
        self.calls.append((operation, asked, answer))
        return answer


def conversation(seed: int) -> list[Call]:
    """What one seed asks of an empty database. A killed function's call never reached it."""
    database = Recorded()
    database.connect()
    try:
        tables.create_tables()
        with seeded(seed), tempfile.TemporaryDirectory() as folder:
            simulate(seed, database, Path(folder))
    finally:
        reset(None)
    return database.calls


def test_a_real_engine_answers_the_same() -> None:
    with dynoxide.needed():
        for seed in SEEDS:
            with dynoxide.running() as url:
                client = botocore.session.get_session().create_client("dynamodb", endpoint_url=url)
                for operation, request, expected in conversation(seed):
                    assert _comparable(_ask(client, operation, request)) == _comparable(expected), (operation, request)


def _ask(client: Any, operation: str, request: Request) -> Any:
    try:
        return client._make_api_call(operation, request)
    except ClientError as error:
        return error.response["Error"]["Code"]


def _comparable(answer: Any) -> Any:
    """Without what only one side tells, such as capacity; items of an index without their order among equals."""
    if not isinstance(answer, dict):
        return answer
    told = {name: answer[name] for name in ("Item", "Attributes", "Count", "LastEvaluatedKey") if answer.get(name)}
    told["Items"] = sorted((_plain(each) for each in answer.get("Items", [])), key=repr)
    for table, items in answer.get("Responses", {}).items():
        told[table] = sorted((_plain(each) for each in items), key=repr)
    return {name: _plain(value) for name, value in told.items()}


def _plain(value: Any) -> Any:
    """1 and 1.0 are one number; the order of attributes is nobody's."""
    if isinstance(value, dict):
        return {name: float(each) if name == "N" else _plain(each) for name, each in sorted(value.items())}
    return value


def test_what_it_does_not_know_is_refused() -> None:
    with pytest.raises(NotImplementedError):
        condition("begins_with (#0, :0)")
