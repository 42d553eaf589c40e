from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.process_rig import PUPPET, ProcessRig, RigOf


@pytest.fixture
def rig_of(tmp_path: Path) -> Iterator[RigOf]:
    """Makes the process engine of a command. What it runs ends with the test."""
    made: list[ProcessRig] = []

    def rig_of(*command: str, **environ: str) -> ProcessRig:
        folder = tmp_path / f"rig-{len(made)}"
        folder.mkdir()
        made.append(ProcessRig(folder, command or PUPPET, environ or None))
        return made[-1]

    try:
        yield rig_of
    finally:
        for each in made:
            each.clear()


@pytest.fixture
def rig(rig_of: RigOf) -> ProcessRig:
    return rig_of()
