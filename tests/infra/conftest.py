"""A botocore client of the embedded database, which nothing else in the process notices; and accounts of moto's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.cloud.deploy import Build
from infra.local.dynamodb import Engine
from infra.local.store import Store
from tests.fixtures.embedded_client import client_of
from tests.infra.cloud.moto_account import Account, NewAccount, moto


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "items.sqlite3"


@pytest.fixture
def client(path: Path) -> Any:
    return client_of(Engine(Store(path)))


@pytest.fixture(scope="session")
def moto_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with moto(tmp_path_factory.mktemp("moto") / "moto.log") as url:
        yield url


@pytest.fixture(scope="module")
def new_account(moto_url: str, wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> NewAccount:
    """An account in which there is nothing; what packages a stage for it is the tests' to say. One for each module."""

    def make(package: Build) -> Account:
        account = Account(moto_url, tmp_path_factory.mktemp("home"), package, wheelhouse)
        account.forget_everything()
        return account

    return make
