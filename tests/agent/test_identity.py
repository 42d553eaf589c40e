"""The folder that one agent alone holds."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from agent.identity import StateDir, StateError


def test_a_folder_is_held_by_one_agent_and_readable_by_its_user_alone(tmp_path: Path) -> None:
    first = StateDir(tmp_path / "state")
    with pytest.raises(StateError, match="another agent"):
        StateDir(tmp_path / "state")
    first.close()
    StateDir(tmp_path / "state").close()
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
