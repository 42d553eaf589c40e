"""The tests of a module are found by its name: those of agent/muster_agent/runner/plan.py in tests/agent/runner."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from muster.api.version import VERSION
from tests.conftest import FOLDERS, WITH_A_DAEMON, WITH_AGENTS, WITH_DOCKER
from tests.fixtures import ROOT

PACKAGES = ("agent", "bench", "chalicelib", "infra", "muster")
ELSEWHERE = {
    "bench/fastapi_server.py": "needs the libraries of make bench's own environment",
    "bench/plots.py": "needs the libraries of make bench's own environment",
    "infra/measure_agent.py": "measures for minutes: make measure-agent",
}
"""Modules without tests of their own, and why."""


def modules() -> list[str]:
    found = (path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return sorted(str(path) for path in found if path.name != "__init__.py")


def path_of(module: str) -> Path:
    path = ROOT / "tests" / module.replace("agent/muster_agent/", "agent/")
    return path.with_name(f"test_{path.stem.strip('_')}.py")


def definitions(path: Path) -> set[str]:
    """The names of a file's functions and classes, and of the classes' methods."""
    return {
        node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }


@pytest.mark.parametrize("module", sorted(set(modules()) - set(ELSEWHERE)))
def test_a_module_has_tests_that_are_found_by_its_name(module: str) -> None:
    path = path_of(module)
    assert path.exists(), f"the tests of {module} belong in {path.relative_to(ROOT)}"
    assert any(name.lower().startswith("test") for name in definitions(path)), f"{path.relative_to(ROOT)} tests nothing"


def test_what_is_tested_elsewhere_is_there() -> None:
    assert set(ELSEWHERE) <= set(modules())


@pytest.mark.parametrize("package", ["agent/muster_agent", "bench", "chalicelib", "infra", "muster"])
def test_a_file_name_occurs_once_in_a_top_level_package(package: str) -> None:
    names = Counter(path.name for path in (ROOT / package).rglob("*.py") if not path.name.startswith("__"))
    assert [name for name, count in names.items() if count > 1] == []


def test_what_has_a_docker_daemon_of_its_own_runs_in_that_daemons_network() -> None:
    files = (path for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__))
    users = {str(path.relative_to(ROOT / "tests")) for path in files if "OwnDaemon" in path.read_text()}
    assert users - {"fixtures/test_docker_daemon.py"} <= set(WITH_A_DAEMON)


@pytest.mark.parametrize("start", sorted({*WITH_DOCKER, *WITH_A_DAEMON, *WITH_AGENTS, *FOLDERS}))
def test_what_has_a_place_of_its_own_in_a_run_is_there(start: str) -> None:
    """A list that names a file by its former name would let it run anywhere."""
    names = (str(path.relative_to(ROOT / "tests")) for path in (ROOT / "tests").rglob("test_*.py"))
    assert any(name.startswith(start) for name in names)


def test_in_a_checkout_the_agent_starts_by_its_former_name_too() -> None:
    ended = subprocess.run([sys.executable, "-m", "agent", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "") and ended.stdout.endswith(f" {VERSION}\n")
