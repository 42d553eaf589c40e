"""A release has the tag of its version, and its changes are told."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from infra.release import NotReleased, check, main
from muster.api.version import VERSION

CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2026-12-01\n"


def test_the_tag_of_the_version_whose_changes_are_told_is_released() -> None:
    check("v0.2.0", "0.2.0", CHANGELOG)


@pytest.mark.parametrize(
    ("tag", "version", "told"),
    [
        ("v0.3.0", "0.2.0", "TAG is v0.3.0"),
        ("0.2.0", "0.2.0", "TAG is 0.2.0, "),
        ("", "0.2.0", "TAG is not set, "),
        ("v0.2.0.dev0", "0.2.0.dev0", "a development version"),
        ("v0.2.1", "0.2.1", "no section"),
        ("v0.2", "0.2", "no section"),
    ],
)
def test_anything_else_is_refused_with_what_to_change(tag: str, version: str, told: str) -> None:
    with pytest.raises(NotReleased, match=told):
        check(tag, version, CHANGELOG)


def test_the_command_refuses_another_tag_than_that_of_the_version() -> None:
    ended = CliRunner().invoke(main, ["--tag", f"v{VERSION}x"])
    assert ended.exit_code == 1
    assert ended.output.startswith(
        f"Error: TAG is v{VERSION}x, and the version in muster/api/version.py is {VERSION}: "
    )
