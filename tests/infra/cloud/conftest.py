"""A stage packaged for Lambda, once, with the wheel in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.cloud.package import build


@pytest.fixture(scope="module")
def packaged(wheel_served: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("prod", tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def packaged_rest(wheel_served: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("prod", tmp_path_factory.mktemp("rest"), rest=True)
