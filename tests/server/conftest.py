"""The control plane's services over a database of the test's own, with the clock in the test's hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")

import pytest

from tests.server import dynoxide
from tests.server.database import DATABASE, Recorder
from tests.server.world import World


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Recorder]:
    """Empty tables behind every PynamoDB model, and a record of the calls that reach them."""
    with DATABASE.embedded(tmp_path / "items.sqlite3") as recorder:
        yield recorder


@pytest.fixture
def world(database: Recorder) -> World:
    return World(database)


@pytest.fixture
def engine() -> Iterator[Recorder]:
    """Empty tables on a real DynamoDB engine: for claims about concurrency and size."""
    with dynoxide.needed(), dynoxide.running() as url, DATABASE.engine_at(url) as recorder:
        yield recorder
