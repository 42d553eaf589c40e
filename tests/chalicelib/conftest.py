"""The control plane's services over a database of the test's own, with the clock in the test's hand."""

from __future__ import annotations

import pytest

from tests.fixtures.database import Recorder
from tests.fixtures.plane_world import PlaneWorld


@pytest.fixture
def world(database: Recorder) -> PlaneWorld:
    return PlaneWorld(database)
