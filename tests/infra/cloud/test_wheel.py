"""The wheel for hosts is built where a clone has none, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.cloud.errors import Misuse
from infra.cloud.wheel import ensure
from muster.api.version import WHEEL
from tests.fixtures import ROOT


def test_it_is_built_once(tmp_path: Path) -> None:
    made = ensure(ROOT, tmp_path / "static")
    assert made.match(WHEEL)
    size = made.stat()
    assert ensure(tmp_path / "nothing to build here", tmp_path / "static") == made
    assert made.stat() == size


def test_one_that_cannot_be_built_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match=r"pip cannot build it \(.+\): run `make wheel`, then the same command again"):
        ensure(tmp_path / "no project", tmp_path / "static")
    assert not (tmp_path / "static").exists()
