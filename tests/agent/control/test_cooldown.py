"""A refused registration is not tried again at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from muster_agent.control.cooldown import RegistrationCooldown
from muster_agent.host.clocks import Moment
from tests.fixtures.journals import open_journal


def test_a_refusal_is_remembered_for_a_while_and_for_the_same_settings_only(tmp_path: Path) -> None:
    database = open_journal(tmp_path).database
    RegistrationCooldown(database, "https://muster", "gpu", "token").note(Moment(5.0, 1000.0, "a"))
    again = RegistrationCooldown(database, "https://muster", "gpu", "token")
    pauses = [again.pause(Moment(5.0, now, "a")) for now in (1000.0, 1200.0, 1300.0, 999.0)]
    assert pauses == [300.0, 100.0, 0.0, 300.0]
    assert (
        RegistrationCooldown(database, "https://muster", "gpu", "another token").pause(Moment(5.0, 1000.0, "a")) == 0.0
    )


@pytest.mark.parametrize("wall", [0.0, 1_800_000_000.0 - 86400, 1_800_000_000.0 + 86400])
def test_the_wall_clock_does_not_make_the_pause_longer_or_shorter(tmp_path: Path, wall: float) -> None:
    refusal = RegistrationCooldown(open_journal(tmp_path).database, "https://muster")
    refusal.note(Moment(1_800_000_000.0, 1000.0, "a"))
    assert refusal.pause(Moment(wall, 1100.0, "a")) == 200.0


def test_after_a_reboot_it_is_tried_at_once(tmp_path: Path) -> None:
    refusal = RegistrationCooldown(open_journal(tmp_path).database, "https://muster")
    refusal.note(Moment(1_800_000_000.0, 1000.0, "a"))
    assert refusal.pause(Moment(1_800_000_001.0, 10.0, "b")) == 0.0
