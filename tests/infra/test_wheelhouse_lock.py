"""Which wheels are locked: those that the platform needs, by its own markers, and no others."""

from __future__ import annotations

from typing import Any

import pytest
import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from chalicelib.routes import wheels
from chalicelib.routes.wheels import MACHINES
from infra.wheelhouse_lock import HEADER, PYTHONS, NotLocked, dependencies, locked, pins, resolved, versions_of
from tests.fixtures import ROOT

PACKAGES = {
    "app": [
        'old; python_version < "3.11"',
        'win; sys_platform == "win32"',
        "Fast.Thing[more]>=1",
        'dev; extra == "dev"',
    ],
    "fast-thing": ['more; extra == "more"', 'other; extra == "other"'],
    "old": [],
    "more": ["app"],
    "new": [],
}


def item(name: str, python: str = "3.11", machine: str = "x86_64") -> dict[str, Any]:
    kind = f"cp{python.replace('.', '')}-abi-manylinux2014_{machine}" if name == "fast-thing" else "py3-none-any"
    return {
        "metadata": {"name": name, "requires_dist": PACKAGES[name]},
        "download_info": {
            "url": f"https://index.example/{name.replace('-', '_')}-1%2Bcpu-{kind}.whl",
            "archive_info": {"hashes": {"sha256": f"{name}{python}{machine}" if "cp" in kind else name}},
        },
    }


class Pip:
    """Evaluates markers for Python 3.11, whichever is asked for, as pip does."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, asked: list[str], python: str, machine: str) -> list[dict[str, Any]]:
        self.asked.append(list(asked))
        found: set[str] = {canonicalize_name(Requirement(each).name) for each in asked}
        found |= {"fast-thing", "more"} if "app" in found else set()
        return [item(name, python, machine) for name in sorted(found)]


def names(found: list[dict[str, Any]]) -> set[str]:
    return {each["metadata"]["name"] for each in found}


def test_markers_are_those_of_the_platform_not_of_the_python_that_runs_pip() -> None:
    pip = Pip()
    assert names(resolved(["app"], "3.10", "x86_64", pip)) == {"app", "fast-thing", "more", "old"}
    assert pip.asked == [["app"], ["app", "old"]], "what pip left out is asked for by name"
    assert names(resolved(["app"], "3.12", "x86_64", pip)) == {"app", "fast-thing", "more"}


def test_what_only_the_python_here_needs_is_left_out() -> None:
    found = resolved(
        ['new; python_version >= "3.13"', "more"],
        "3.12",
        "x86_64",
        lambda *_: [item("more"), item("new"), item("app"), item("fast-thing")],
    )
    assert names(found) == {"app", "fast-thing", "more"}
    assert names(resolved(['new; python_version >= "3.13"'], "3.14", "aarch64", Pip())) == {"new"}


def test_versions_are_those_of_the_tests_with_that_python() -> None:
    tested = """# Made
fast-thing==1 ; python_full_version < '3.12' \\
    --hash=sha256:aa
fast-thing==2 ; python_full_version >= '3.12' \\
    --hash=sha256:bb
win==3 ; sys_platform == 'win32' \\
    --hash=sha256:cc
more==4
"""
    assert pins(tested, "3.11", "x86_64") == ["fast-thing==1", "more==4"]
    assert pins(tested, "3.12", "aarch64") == ["fast-thing==2", "more==4"]
    assert [versions_of(each).name for each in ("3.10", "3.11")] == ["requirements-310.txt", "requirements-dev.txt"]


def test_what_pip_does_not_have_ends_it() -> None:
    with pytest.raises(NotLocked, match=r"pip leaves out old for Python 3\.10"):
        resolved(["old"], "3.10", "x86_64", lambda *_: [])


def test_a_file_is_locked_once_with_every_python_that_needs_it() -> None:
    found = locked(["app"], Pip())
    files = {each.file: sorted(each.pythons) for each in found.wheels}
    assert files["app-1+cpu-py3-none-any.whl"] == sorted(PYTHONS)
    assert files["old-1+cpu-py3-none-any.whl"] == ["3.10"]
    assert len([file for file in files if file.startswith("fast_thing")]) == len(PYTHONS) * len(MACHINES)
    assert len(found.of("cp312-aarch64")) == 3


def test_the_agents_dependencies_are_those_of_the_package_and_of_its_extra() -> None:
    project = {"dependencies": ["a"], "optional-dependencies": {"agent": ["b"], "cli": ["c"]}}
    assert dependencies(project) == ["a", "b"]
    assert dependencies({"dependencies": ["a"]}) == ["a"]


@pytest.mark.parametrize("platform", wheels.lock().platforms)
def test_the_lock_has_what_pyproject_asks_for_in_the_versions_that_the_tests_use(platform: str) -> None:
    found = dict(parse_wheel_filename(each.file)[:2] for each in wheels.lock().of(platform))
    for each in map(Requirement, dependencies(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])):
        if each.marker is None:
            assert found[canonicalize_name(each.name)] in each.specifier, "run make lock"
    digits, _, machine = platform.removeprefix("cp").partition("-")
    python = f"{digits[0]}.{digits[1:]}"
    tested = {each.partition("==")[0]: each for each in pins(versions_of(python).read_text(), python, machine)}
    assert {name: f"{name}=={version}" for name, version in found.items()} == {name: tested[name] for name in found}


def test_the_lock_names_no_server() -> None:
    text = wheels.LOCK.read_text()
    assert text == HEADER + wheels.lock().text(), "as make lock writes it"
    assert "://" not in text
