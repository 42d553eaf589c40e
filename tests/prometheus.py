"""Debian's prometheus and promtool, for tests that need the real ones."""

from __future__ import annotations

import os
import shutil

import pytest


def program(name: str) -> str:
    """Where it is. Skips the test where it is not, unless MUSTER_REQUIRE_PROMETHEUS is set."""
    found = shutil.which(name)
    if found is None:
        reason = f"there is no {name} here: apt-get install prometheus"
        if os.environ.get("MUSTER_REQUIRE_PROMETHEUS"):
            pytest.fail(f"MUSTER_REQUIRE_PROMETHEUS is set, and {reason}")
        pytest.skip(reason)
    return found
