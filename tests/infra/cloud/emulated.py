"""The archive in an emulated Lambda, over a real DynamoDB engine that has the tables and the first credentials."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from app import app
from tests.fixtures import dynoxide
from tests.fixtures.serve import ADMIN_KEY, REGISTRATION_TOKEN
from tests.infra.cloud.lambda_emulator import Form, Function, gateway, runtime_beside
from tests.infra.cloud.unpacked_archive import unpacked

ACCOUNT = {"AWS_DEFAULT_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
ROOT = Path(__file__).parents[3]
INTRODUCE = """
import sys, time
from chalicelib import tables, tokens
tables.create_tables()
tokens.seed_admin_key(sys.argv[1], time.time())
tokens.seed_registration_token(sys.argv[2], time.time())
"""


@dataclass(frozen=True)
class Cloud:
    url: str
    function: Function


@pytest.fixture(scope="session")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("task"))


@pytest.fixture(scope="session")
def brought(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runtime_beside(tmp_path_factory.mktemp("brought"))


@pytest.fixture(scope="module")
def dynamodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an engine with empty tables and the first credentials."""
    with dynoxide.needed(), dynoxide.running() as url:
        environment = {**os.environ, **ACCOUNT, "AWS_ENDPOINT_URL_DYNAMODB": url}
        command = [sys.executable, "-c", INTRODUCE, ADMIN_KEY, REGISTRATION_TOKEN]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        yield url


@pytest.fixture
def cloud(task: Path, brought: Path, dynamodb: str, tmp_path: Path) -> Iterator[Callable[..., Cloud]]:
    """Makes a function and its API."""
    with ExitStack() as stack:

        def make(form: Form, concurrency: int = 10, **environment: str) -> Cloud:
            environment = {"AWS_ENDPOINT_URL_DYNAMODB": dynamodb, **environment}
            function = Function(task, brought, tmp_path / "function.log", environment, concurrency)
            return Cloud(stack.enter_context(gateway(function, form, app.routes)), function)

        yield make
