from __future__ import annotations

from pathlib import Path

import pytest

from tests.agent.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """An agent that has registered and beaten once."""
    made = World(tmp_path).boot()
    made.beat()
    return made
