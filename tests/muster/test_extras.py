"""The distribution's extras: what they bring is what their part imports."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec.toml
import pytest

import muster
import muster_agent
from muster.extras import EXTRAS, needed
from tests.fixtures import ROOT

DISTRIBUTIONS = {"prometheus_client": "prometheus-client", "pynvml": "nvidia-ml-py", "yaml": "pyyaml"}
"""Whose name is not that of their module."""
EVERYWHERE = {"msgspec", "requests", "tomli", "urllib3"}
CODE = Path(muster.__file__).parent
TUNNELS = [CODE / "model_http", CODE / "tunnel"]
PARTS = {
    "cli": [CODE / "cli"],
    "agent": [Path(muster_agent.__file__).parent, *TUNNELS],
    "gateway": [CODE / "gateway", CODE / "serving", *TUNNELS],
}


def imported(folder: Path) -> set[str]:
    """The top-level modules that the code there imports, of neither Python nor Muster."""
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        found.update(of(ast.parse(path.read_text())))
    return found - sys.stdlib_module_names - {"muster", "muster_agent"}


def of(node: ast.AST) -> Iterator[str]:
    """Not what only type checkers import."""
    if isinstance(node, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module.partition(".")[0]
    for child in ast.iter_child_nodes(node):
        is_for_checkers = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and child in node.body
        if not is_for_checkers:
            yield from of(child)


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9-]", each)[0].lower() for each in requirements}


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_brings_what_its_part_imports(extra: str) -> None:
    modules = set().union(*map(imported, PARTS[extra])) - EVERYWHERE
    # The command is the command line's, and uvicorn needs the library for WebSockets.
    modules |= {"click", "rich", "websockets"} if extra == "gateway" else set()
    assert modules == set(EXTRAS[extra])
    project = msgspec.toml.decode((ROOT / "pyproject.toml").read_text())["project"]
    brought = names(project["optional-dependencies"][extra])
    assert brought == {DISTRIBUTIONS.get(module, module) for module in EXTRAS[extra]}
    assert names(project["dependencies"]) == EVERYWHERE


def test_the_rest_imports_what_every_installation_has() -> None:
    optional = {folder for folders in PARTS.values() for folder in folders} | {CODE / "__pycache__"}
    parts = [path for path in CODE.iterdir() if path not in optional]
    found = set().union(*(imported(path) for path in parts if path.is_dir()))
    for path in parts:
        if path.suffix == ".py":
            found.update(set(of(ast.parse(path.read_text()))) - sys.stdlib_module_names - {"muster"})
    assert found <= EVERYWHERE


def test_a_module_of_the_extra_that_is_missing_is_told_with_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, needed("cli", "muster"):
        raise ModuleNotFoundError("No module named 'rich.text'", name="rich.text")
    assert ended.value.code == 1
    assert capsys.readouterr().err == "muster: rich is not installed: pip install 'muster-gpu[cli]'\n"


@pytest.mark.parametrize("name", ["muster.cli.nothing", "docker", None])
def test_any_other_module_that_is_missing_is_a_fault_of_the_program(name: str | None) -> None:
    with pytest.raises(ModuleNotFoundError), needed("cli", "muster"):
        raise ModuleNotFoundError("missing", name=name)
