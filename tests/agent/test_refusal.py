"""A refused registration is not tried again at once."""

from __future__ import annotations

from pathlib import Path

from agent.refusal import Refusal
from tests.fixtures.journals import open_memory


def test_a_refusal_is_remembered_for_a_while_and_for_the_same_settings_only(tmp_path: Path) -> None:
    database = open_memory(tmp_path).database
    Refusal(database, "https://muster", "gpu", "token").note(1000.0)
    again = Refusal(database, "https://muster", "gpu", "token")
    assert [again.pause(now) for now in (1000.0, 1200.0, 1300.0, 999.0)] == [300.0, 100.0, 0.0, 0.0]
    assert Refusal(database, "https://muster", "gpu", "another token").pause(1000.0) == 0.0
