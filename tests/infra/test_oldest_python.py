"""Which Python 3.10 `make test-310` takes, and that its tests cannot import the source tree."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra import oldest_python
from infra.oldest_python import COPIED, MISSING, TESTS, copy, interpreter
from tests.fixtures import ROOT


def python(path: Path, *, is_usable: bool = True) -> Path:
    """A program that answers as a Python 3.10 would, or as another one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\nexit {0 if is_usable else 1}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def on_path(home: Path) -> dict[str, str]:
    return {"PATH": f"{home}/bin:/usr/bin:/bin"}


def test_the_named_python_is_the_only_one_that_is_tried(home: Path) -> None:
    python(home / "bin" / "python3.10")
    named = python(home / "named")
    assert interpreter({**on_path(home), "PYTHON310": str(named)}, home) == named
    python(home / "named", is_usable=False)
    assert interpreter({**on_path(home), "PYTHON310": str(named)}, home) is None
    assert interpreter({**on_path(home), "PYTHON310": str(home / "absent")}, home) is None


def test_without_a_name_it_is_the_one_on_the_path_or_else_pyenvs_newest(home: Path) -> None:
    assert interpreter({"PATH": str(home / "bin")}, home) is None
    versions = home / ".pyenv" / "versions"
    for version in ("3.10.9", "3.10.13", "3.10-dev", "3.11.7", "3.9.18"):
        python(versions / version / "bin" / "python")
    assert interpreter({"PATH": str(home / "bin")}, home) == versions / "3.10.13" / "bin" / "python"
    python(versions / "3.10.13" / "bin" / "python", is_usable=False)
    assert interpreter({"PATH": str(home / "bin")}, home) == versions / "3.10.9" / "bin" / "python"
    shim = python(home / "bin" / "python3.10", is_usable=False)  # pyenv's, which only says what there is
    assert interpreter({"PATH": str(home / "bin")}, home) == versions / "3.10.9" / "bin" / "python"
    python(shim)
    assert interpreter({"PATH": str(home / "bin")}, home) == shim


def test_a_python_of_another_version_is_none(home: Path) -> None:
    found = interpreter({"PYTHON310": sys.executable}, home)
    assert (found is not None) == (sys.version_info[:2] == (3, 10))


@pytest.mark.parametrize("words", [["find"], ["test", "absent.whl"]])
def test_without_a_python_3_10_one_sentence_says_what_to_do(home: Path, words: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "infra.oldest_python", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHON310": str(home / "absent")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", f"{MISSING}\n")


def test_the_copy_has_what_the_tests_need_and_not_the_packages_under_test(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "of an earlier run").touch()
    copy(ROOT, tmp_path / "copy")
    assert {path.name for path in (tmp_path / "copy").iterdir()} == set(COPIED)
    assert all((tmp_path / "copy" / each).is_dir() for each in TESTS)
    assert not list((tmp_path / "copy").rglob("__pycache__"))


def test_packages_of_the_source_tree_are_not_the_wheels(tmp_path: Path) -> None:
    for name in ("muster", "muster_agent"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    ended = subprocess.run(
        [sys.executable, "-c", oldest_python.WHERE], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "is not the wheel's" in ended.stderr
