"""The release's number and name have one source."""

from __future__ import annotations

import fnmatch
import re

import msgspec.toml

from muster.api.version import DISTRIBUTION, VERSION, WHEEL
from tests.fixtures import ROOT


def test_the_distribution_has_its_name_and_its_version_from_here() -> None:
    project = msgspec.toml.decode((ROOT / "pyproject.toml").read_text())
    assert project["project"]["name"] == DISTRIBUTION
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "muster/api/version.py"


def test_its_wheel_is_found_and_that_of_0_1_0_is_not() -> None:
    assert fnmatch.fnmatch(f"{DISTRIBUTION.replace('-', '_')}-{VERSION}-py3-none-any.whl", WHEEL)
    assert not fnmatch.fnmatch("muster-0.1.0-py3-none-any.whl", WHEEL)


def test_the_version_is_one_that_package_indexes_take() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(?:\.dev\d+|(?:a|b|rc)\d+)?", VERSION)
