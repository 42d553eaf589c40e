"""The kept files of 0.1.0 are the ones that were made, small, and without private paths."""

from __future__ import annotations

import hashlib
import lzma
import re

import pytest

from tests.docs.test_repository import PRIVATE
from tests.fixtures.kept_release import RELEASE_0_1_0

NAMES = ["control-plane.tar.xz", "data.tar.xz", "facts.json", "muster-0.1.0-py3-none-any.whl", "state.tar.xz"]


def test_each_kept_file_has_its_recorded_sum() -> None:
    recorded = [tuple(line.split()) for line in (RELEASE_0_1_0 / "SHA256SUMS").read_text().splitlines()]
    assert recorded == [(hashlib.sha256((RELEASE_0_1_0 / name).read_bytes()).hexdigest(), name) for name in NAMES]


def test_no_other_file_is_kept_and_all_together_are_small() -> None:
    files = list(RELEASE_0_1_0.iterdir())
    assert sorted(file.name for file in files) == sorted([*NAMES, "README.md", "SHA256SUMS"])
    assert sum(file.stat().st_size for file in files) < 1_500_000


@pytest.mark.parametrize("name", ["data.tar.xz", "state.tar.xz"])
def test_what_the_release_wrote_names_no_private_place(name: str) -> None:
    content = lzma.decompress((RELEASE_0_1_0 / name).read_bytes()).decode(errors="replace")
    assert "gpu-host" in content
    assert [found[0] for pattern in PRIVATE.values() for found in re.finditer(pattern, content)] == []
