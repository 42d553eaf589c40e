"""A packaged stage: three files, whose templates CloudFormation's linter finds nothing in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from infra.cloud.archive import NotPackaged, Runtime
from infra.cloud.package import ARCHIVE, build, main


def test_a_stage_is_two_templates_and_an_archive(packaged: Path, packaged_rest: Path) -> None:
    for folder in (packaged, packaged_rest):
        assert {each.name for each in folder.iterdir()} == {"data.json", "app.json", ARCHIVE}


def test_cfn_lint_finds_nothing(packaged: Path, packaged_rest: Path) -> None:
    assert (packaged / "data.json").read_bytes() == (packaged_rest / "data.json").read_bytes()
    linter = [str(Path(sys.executable).with_name("cfn-lint")), "--include-checks", "I", "--"]
    templates = [packaged / "data.json", packaged / "app.json", packaged_rest / "app.json"]
    done = subprocess.run([*linter, *map(str, templates)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_what_pip_does_not_find_ends_it(tmp_path: Path, wheel_served: Path) -> None:
    with pytest.raises(NotPackaged, match="msgspec"):
        build("prod", tmp_path, runtime=Runtime("python3.2"))


def test_the_command_asks_for_a_stage() -> None:
    done = CliRunner().invoke(main, [])
    assert done.exit_code == 2 and "--stage" in done.stderr
