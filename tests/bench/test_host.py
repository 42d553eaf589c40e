"""The description of the machine."""

from __future__ import annotations

import platform
from pathlib import Path

from bench import host
from tests.fixtures import ROOT


def test_the_description_has_neither_the_machines_name_nor_paths() -> None:
    text = " ".join(value for _, value in host.rows())
    assert platform.node() not in text.replace("Debian", "") or len(platform.node()) < 3
    assert str(Path.home()) not in text and str(ROOT) not in text


def test_it_names_processor_memory_system_and_python() -> None:
    facts = dict(host.rows())
    assert platform.python_version() in facts["Python"] and "cores" in facts["processor"] and "GiB" in facts["memory"]


def test_a_library_that_is_not_installed_is_left_out() -> None:
    assert host.versions(["no-such-library", "psutil"]).startswith("psutil ")


def test_outside_of_git_a_commit_is_unknown(tmp_path: Path) -> None:
    assert host.commit(tmp_path) == "unknown"
