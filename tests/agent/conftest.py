from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.agent_world import AgentWorld


@pytest.fixture
def world(tmp_path: Path) -> AgentWorld:
    """An agent that has registered and beaten once."""
    made = AgentWorld(tmp_path).boot()
    made.beat()
    return made
