"""A control plane for the tests that leave it alone; the others start their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from tests.faults.rig import Plane, plane
from tests.fixtures import dynoxide

Planes = Callable[..., AbstractContextManager[Plane]]
WINDOW = 3
"""Seconds of silence after which a worker of the shared control plane counts as offline.

On a busy machine each of its workers may be offline for a while at any time.
"""


@pytest.fixture(scope="session")
def planes() -> Planes:
    """Starts control planes; skips where their database cannot be had, or fails if it is required."""
    with dynoxide.needed():
        dynoxide.executable()
    return plane


@pytest.fixture(scope="session")
def calm_plane(planes: Planes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """One for all tests whose hosts alone are at fault."""
    with planes(tmp_path_factory.mktemp("plane"), MUSTER_ONLINE_WINDOW=str(WINDOW)) as started:
        yield started


@pytest.fixture(scope="session")
def at_length(thorough: bool) -> None:
    """For what takes a quarter of a minute, and tells no more than others do of what is likely to break."""
    if not thorough:
        pytest.skip("faults that take their time: with --thorough")
