"""The root of the command line: its help, and how a command ends when something is wrong."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from muster.api import resources as r
from muster.cli.main import muster, said
from muster.cli.shell import Shell
from muster.exceptions import error
from tests.fixtures.fake_server import FakeServer
from tests.fixtures.operators import Operators
from tests.fixtures.resources import URL


def test_every_command_has_its_place_in_the_help() -> None:
    shown = CliRunner().invoke(muster, ["--help"]).stdout
    for name in muster.commands:
        assert re.search(rf"^  {name} ", shown, re.MULTILINE)
    for code in ("0  success", "3  not found", "6  unreachable", "130  interrupted (Ctrl-C)"):
        assert code in shown


def test_the_version_is_the_packages() -> None:
    assert re.fullmatch(r"muster, version \d\S*\n", CliRunner().invoke(muster, ["--version"]).stdout)


def test_a_mistake_in_muster_ends_with_a_sentence() -> None:
    broken = FakeServer()
    broken.failures.append(KeyError("\x1b[31mwhat"))
    shell = Shell(environment={"MUSTER_URL": URL, "MUSTER_API_KEY": "k"}, session=broken.session_to_here)
    done = CliRunner().invoke(muster, ["workers"], obj=shell)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "internal error in muster" in done.stderr and "KeyError" in done.stderr
    assert "\x1b" not in done.stderr and "Traceback" not in done.stderr


def test_a_refusal_names_commands_in_the_place_of_routes(operators: Operators) -> None:
    operators.out("deploy org/model --name m --gpus 0 --wait")
    shown = operators.out("workers remove gpu-1 --yes", 5)
    assert "it has live deployments (m): stop them, or remove it with --force" in shown


def test_a_role_that_is_not_enough_is_named_with_the_one_that_is(operators: Operators) -> None:
    key = operators.json("keys create look --role viewer", r.ApiKey).key
    assert isinstance(key, str)
    assert operators.invoke("ps", key=key).exit_code == 0
    refused = operators.invoke("deploy org/model", key=key)
    assert refused.exit_code == 4
    assert "this needs the role operator; the key's is viewer (an admin can create a key" in refused.stderr


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("UNAUTHENTICATED", "what failed (the API key is not valid, or was revoked: muster login URL)"),
        ("PORT_IN_USE", "what failed [muster explain PORT_IN_USE]"),
    ],
)
def test_an_error_has_advice_or_the_command_that_explains_it(code: str, expected: str) -> None:
    assert said(error(code, "what failed")) == expected
