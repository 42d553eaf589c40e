"""docs/client.md and the docstrings that it is made from: complete, in one form, right about errors, and run."""

from __future__ import annotations

import inspect
import re
import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests

import muster
from infra.client_docs import COMMAND, PAGE, documented, methods, page
from muster import Client, NewDeployment
from muster.api.endpoints import BY_NAME, Access
from muster.exceptions import error
from tests.fixtures.database import Recorder
from tests.fixtures.operators import Operators

METHODS = [name for names in methods().values() for name in names]
OFFLINE = {"close", "url"}
"""They send no request."""
VIA = {"watch_deployment": "get_deployment", "watch_operation": "get_operation"}
"""The endpoints of methods that call another method."""
TIMELINES = {"events", "events_since"}
CALL = re.compile(r'(?:call|text|ask|_ask|_pages)\(\s*"(\w+)"')
CODE = re.compile(r"`([A-Z]{3,}(?:_[A-Z]+)*)`")
UNIT = re.compile(r"\b(seconds|lines|bytes|percent)\b", re.I)


def member(name: str) -> Any:
    found = inspect.getattr_static(Client, name)
    return found.fget if isinstance(found, property) else found


def parameters(name: str) -> dict[str, Any]:
    """The types of a method's arguments by name; a TypedDict of keywords counts as its keys."""
    hints = typing.get_type_hints(member(name), localns={"requests": requests})
    found: dict[str, Any] = {}
    for each in list(inspect.signature(member(name)).parameters.values())[1:]:
        is_dict = each.kind is inspect.Parameter.VAR_KEYWORD
        found |= (
            typing.get_type_hints(typing.get_args(hints[each.name])[0]) if is_dict else {each.name: hints[each.name]}
        )
    return found


def access(name: str) -> Access:
    """Who may call the route behind a method."""
    if name in TIMELINES:
        return BY_NAME["events"].access
    return BY_NAME[VIA.get(name) or CALL.findall(inspect.getsource(member(name)))[0]].access


def measures_bytes(hint: Any) -> bool:
    """Whether an answer has sizes in bytes somewhere in it: fields that are annotated as `Bytes`."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        own = any(
            re.search(r"\bBytes\b", text) for each in hint.__mro__ for text in inspect.get_annotations(each).values()
        )
        return own or any(map(measures_bytes, typing.get_type_hints(hint).values()))
    return any(map(measures_bytes, typing.get_args(hint)))


def test_the_page_is_made_from_the_docstrings_as_they_are() -> None:
    assert PAGE.read_text() == page(), f"docs/client.md is out of date: run `{COMMAND}`"


def test_the_page_has_every_public_member() -> None:
    public = {name for name in vars(Client) if not name.startswith("_")}
    assert len(METHODS) == len(set(METHODS)) == 47 and set(METHODS) == public
    assert {name for name in public if f"### client.{name}\n" in PAGE.read_text()} == public


@pytest.mark.parametrize("name", [*METHODS, "__init__"])
def test_each_argument_is_described_in_order_and_with_its_unit(name: str) -> None:
    described, taken = documented(name).args, parameters(name)
    assert list(described) == list(taken)
    numbers = [each for each, hint in taken.items() if {int, float} & {hint, *typing.get_args(hint)}]
    assert [each for each in numbers if not UNIT.search(described[each])] == []


@pytest.mark.parametrize("name", METHODS)
def test_what_is_returned_is_named_with_its_unit(name: str) -> None:
    answer, found = typing.get_type_hints(member(name))["return"], documented(name).returns
    assert bool(found) is (answer is not type(None))
    shown = str(inspect.signature(member(name)).return_annotation)
    named = set(re.findall(r"\b[A-Z]\w+", shown)) - {"Iterator", "None"} or set(re.findall(r"\bstr\b", shown))
    assert {each for each in named if f"`{each}`" in found.partition(": ")[0]} == named
    assert ("Iterator" in shown) is found.startswith("Iterator of ")
    assert ("list[" in shown) is found.startswith("list of ")
    assert not measures_bytes(answer) or "bytes" in found
    assert measures_bytes(answer) or name not in ("disk", "images", "workers", "lose_worker")


@pytest.mark.parametrize("name", METHODS)
def test_each_error_is_one_that_its_codes_are_raised_as(name: str) -> None:
    for kind, text in documented(name).raises.items():
        assert text and kind in muster.__all__
        assert [code for code in CODE.findall(text) if type(error(code, "")).__name__ != kind] == []


@pytest.mark.parametrize("name", METHODS)
def test_the_errors_name_the_role_and_the_ways_to_fail_that_every_request_has(name: str) -> None:
    raised = documented(name).raises
    if name in OFFLINE:
        assert raised == {}
        return
    assert "Unreachable" in raised
    role = access(name)
    assert ("AuthError" in raised) is (role is not Access.ANYONE)
    needed = re.findall(r"role is below `(\w+)`", raised.get("AuthError", ""))
    assert needed == ([role.name.lower()] if role > Access.VIEWER else [])
    waits = {"timeout", "watch"} & set(parameters(name))
    assert ("TimedOut" in raised) is bool(waits)
    assert ("WorkerFailed" in raised) is ("watch" in waits)
    assert "NotFound" in raised or not any(each.endswith("_id") for each in _path(name))


def _path(name: str) -> list[str]:
    """Ids that a caller must give: those name something that may not exist."""
    required = inspect.signature(member(name)).parameters.values()
    return [each.name for each in required if each.default is inspect.Parameter.empty and each.name.endswith("_id")]


@pytest.mark.parametrize("name", [name for name in [*METHODS, "__init__"] if documented(name).example])
def test_an_example_runs(name: str, database: Recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    operators = Operators(tmp_path).join()
    client = operators.client()
    deployment_id = client.deploy(NewDeployment(model="org/model", gpus=0, name="m")).deployment_id
    *_, seen = client.watch_deployment(deployment_id, timeout=60)
    assert seen.status is muster.Status.RUNNING
    names = {each: getattr(muster, each) for each in muster.__all__}
    given = {"client": client, "worker_id": next(client.workers()).worker_id, "deployment_id": deployment_id}
    code = documented(name).example
    exec(compile(code, name, "exec"), {**names, **given, "Client": lambda url, key: operators.client()})
    assert capsys.readouterr().out or "print" not in code


def test_there_are_examples_of_what_takes_an_object_or_goes_on() -> None:
    takers = [name for name in METHODS if {"wanted", "patch"} & set(parameters(name))]
    assert len(takers) == 5 and [name for name in takers if not documented(name).example] == []
    assert documented("watch_deployment").example and documented("events_since").example
