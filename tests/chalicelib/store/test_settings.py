"""The settings: what holds where nothing is said, and what the environment says instead."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.fixtures import ROOT

NAMES = ("TABLE_PREFIX", "HEARTBEAT", "ONLINE_WINDOW", "MAX_WAITS")


def settings(**environment: str) -> list[str]:
    """What a process with this environment has of each of NAMES."""
    shown = (
        "from chalicelib.store import settings as s; print(*(getattr(s, name) for name in "
        + repr(NAMES)
        + "), sep='|')"
    )
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MUSTER_")}
    done = subprocess.run(
        [sys.executable, "-c", shown],
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip().split("|")


def test_what_holds_where_nothing_is_said() -> None:
    assert settings() == ["muster-", "30", "90.0", "5"]


def test_the_environment_has_the_last_word() -> None:
    given = {"TABLE_PREFIX": "test-", "HEARTBEAT": "5", "ONLINE_WINDOW": "2.5", "MAX_WAITS": "0"}
    assert settings(**{f"MUSTER_{name}": value for name, value in given.items()}) == list(given.values())


def test_a_setting_that_is_no_number_ends_the_process() -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        settings(MUSTER_HEARTBEAT="soon")
    assert "ValueError" in caught.value.stderr
