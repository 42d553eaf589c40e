"""One unpacked copy of release 0.1.0 for all tests of a process."""

from __future__ import annotations

import pytest

from tests.fixtures.kept_release import RELEASE_0_1_0, Release


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return Release(RELEASE_0_1_0, tmp_path_factory.mktemp("release"))
