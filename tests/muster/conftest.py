from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.database import Recorder
from tests.fixtures.operators import Operators


@pytest.fixture
def operators(database: Recorder, tmp_path: Path) -> Operators:
    """A control plane that one worker, gpu-1, has joined."""
    return Operators(tmp_path).join()
