"""The embedded database behind a botocore client of its own, so that nothing else in the process notices it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.local_dynamodb import Engine
from infra.local_store import Store
from tests.fixtures.embedded_client import client_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "items.sqlite3"


@pytest.fixture
def client(path: Path) -> Any:
    return client_of(Engine(Store(path)))
