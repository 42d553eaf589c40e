from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.world import Operators
from tests.server.conftest import database
from tests.server.database import Recorder

__all__ = ["database"]


@pytest.fixture
def operators(database: Recorder, tmp_path: Path) -> Operators:
    """A control plane that one worker, gpu-1, has joined."""
    return Operators(tmp_path).join()
