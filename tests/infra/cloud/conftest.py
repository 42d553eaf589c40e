"""What the tests of AWS share, each made once for a session: packaged stages, the unpacked archive, moto's server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app import app
from infra.cloud.package import ARCHIVE, build
from tests.fixtures import ROOT, dynoxide
from tests.fixtures.serve import ADMIN_KEY, REGISTRATION_TOKEN
from tests.infra.cloud.emulated import ACCOUNT, INTRODUCE, Cloud
from tests.infra.cloud.lambda_emulator import Form, Function, gateway, runtime_beside
from tests.infra.cloud.unpacked_archive import HERE


@pytest.fixture(scope="session")
def packaged(wheel_served: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stage `prod`, packaged for Lambda, with the wheel in it."""
    return build("prod", tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="session")
def packaged_rest(wheel_served: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a REST API."""
    return build("prod", tmp_path_factory.mktemp("rest"), rest=True)


@pytest.fixture(scope="session")
def packaged_here(wheel_served: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for this machine."""
    return build("prod", tmp_path_factory.mktemp("here"), runtime=HERE)


@pytest.fixture(scope="session")
def task(packaged_here: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive for this machine, unpacked as Lambda does."""
    folder = tmp_path_factory.mktemp("task")
    shutil.unpack_archive(packaged_here / ARCHIVE, folder)
    return folder


@pytest.fixture(scope="session")
def brought(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Lambda's Python has beside an archive."""
    return runtime_beside(tmp_path_factory.mktemp("brought"))


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[str]:
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
