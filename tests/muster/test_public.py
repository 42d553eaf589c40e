"""`import muster`: what it costs, what it exports, and that nothing a `Client` takes or returns is missing."""

from __future__ import annotations

import ast
import builtins
import inspect
import json
import subprocess
import sys
import types
import typing
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import msgspec
import pytest
import requests

import muster
from muster import exceptions
from muster.api.version import DISTRIBUTION, VERSION
from tests.fixtures import ROOT

OURS = ("muster.",)
MEMBERS = {
    name: member.fget if isinstance(member, property) else member
    for name, member in vars(muster.Client).items()
    if not name.startswith("_") or name == "__init__"
}
PROBE = "import json, sys; before = set(sys.modules); {}; print(json.dumps(sorted(set(sys.modules) - before)))"


def loaded(statement: str) -> set[str]:
    """The modules that a fresh interpreter loads for a statement."""
    command = [sys.executable, "-c", PROBE.format(statement)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout))


def parts(hint: Any) -> Iterator[Any]:
    """A hint, what it is made of, and what the fields of its classes are made of, once each."""
    waiting: list[Any] = [hint]
    known: list[Any] = []
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):  # the arguments of a Callable
            waiting += each
        elif not any(each is one for one in known):
            known.append(each)
            yield each
            waiting += typing.get_args(each)
            if is_ours(each) and not issubclass(each, muster.Client):
                waiting += typing.get_type_hints(each).values()


def is_ours(hint: Any) -> bool:
    return isinstance(hint, type) and hint.__module__.startswith(OURS)


def test_importing_the_package_loads_one_module() -> None:
    assert loaded("import muster") == {"muster"}
    assert len(loaded("import requests")) > 100


@pytest.mark.parametrize(
    ("name", "spared"),
    [
        ("NotFound", {"requests", "msgspec", "urllib3"}),
        ("Status", {"requests", "msgspec", "urllib3"}),
        ("NewDeployment", {"requests", "urllib3"}),
        ("__version__", {"requests", "msgspec", "urllib3"}),
    ],
)
def test_a_name_loads_only_what_its_module_needs(name: str, spared: set[str]) -> None:
    assert loaded(f"from muster import {name}") & spared == set()


def test_the_client_loads_requests_only_when_needed() -> None:
    found = loaded("from muster import Client; Client('http://127.0.0.1:9', 'k')")
    assert {"http.client", "msgspec"} <= found and not {"requests", "urllib3"} & found


@pytest.mark.parametrize("member", MEMBERS)
def test_every_type_that_a_method_takes_or_returns_is_exported(member: str) -> None:
    hints = typing.get_type_hints(MEMBERS[member], localns={"requests": requests})
    needed = {each.__name__ for hint in hints.values() for each in parts(hint) if is_ours(each)}
    assert needed <= set(muster.__all__)


@pytest.mark.parametrize("member", MEMBERS)
def test_every_name_in_a_signature_is_exported(member: str) -> None:
    """`Role` and `Watch` are names for types, which no hint knows any more when it is resolved."""
    names = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for text in MEMBERS[member].__annotations__.values()
        for node in ast.walk(ast.parse(text))
        if (isinstance(node, ast.Attribute) and ast.unparse(node.value) != "requests") or isinstance(node, ast.Name)
    }
    modules = {"r", "m", "g", "requests"}
    elsewhere = {*dir(builtins), "Iterator", "Literal", "Sequence", "Unpack"}
    assert names - modules - elsewhere <= set(muster.__all__)


def test_the_rule_finds_nested_types_and_aliases() -> None:
    def method(taken: list[tuple[int, muster.Worker | None]]) -> None: ...

    found = {each.__name__ for each in parts(typing.get_type_hints(method)["taken"]) if is_ours(each)}
    assert {"Worker", "GpuInfo", "GpuProcess", "DiskPath"} <= found
    watch = {each.__name__ for each in parts(muster.Watch) if is_ours(each)}
    assert {"Accepted", "Operation", "Progress", "OperationStatus"} <= watch


def test_every_error_is_exported() -> None:
    kinds = {name for name, kind in vars(exceptions).items() if inspect.isclass(kind) and issubclass(kind, Exception)}
    assert kinds and kinds <= set(muster.__all__)


def test_the_names_for_type_checkers_are_the_names_at_run_time() -> None:
    (block,) = [
        each
        for each in ast.parse(inspect.getsource(muster)).body
        if isinstance(each, ast.If) and isinstance(each.test, ast.Name)
    ]
    checked = {
        alias.name: each.module
        for each in block.body
        if isinstance(each, ast.ImportFrom)
        for alias in each.names
        if alias.asname is None
    }
    assert checked == muster._HOME
    assert sorted(muster.__all__) == sorted(checked)
    assert [name for name, module in checked.items() if not hasattr(sys.modules[str(module)], name)] == []


def test_every_name_can_be_imported_and_is_listed() -> None:
    namespace: dict[str, Any] = {}
    exec("from muster import *", namespace)
    assert set(muster.__all__) <= set(namespace) and namespace["Client"] is muster.Client
    assert {*muster.__all__, "__version__"} <= set(dir(muster))
    assert muster.UNSET is msgspec.UNSET and muster.__version__ == VERSION == version(DISTRIBUTION)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'muster' has no attribute 'NoSuch'"):
        muster.NoSuch  # type: ignore[attr-defined]  # noqa: B018  # mypy must refuse the name too
    assert isinstance(muster, types.ModuleType) and not hasattr(muster, "_no_such")
