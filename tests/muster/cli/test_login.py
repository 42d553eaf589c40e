"""muster login: a key is tried before it is kept, and muster logout forgets it."""

from __future__ import annotations

import json

import pytest

from muster.api import resources as r
from muster.cli import account
from muster.cli.account import Account
from tests.fixtures.app import ADMIN_KEY
from tests.fixtures.operators import Operators
from tests.fixtures.resources import URL


def test_a_good_key_is_kept_and_used_until_logout(operators: Operators) -> None:
    said = operators.invoke(f"login {URL}/", key=None, stdin=f"{ADMIN_KEY}\n")
    place = operators.folder / "config" / "muster" / "login.json"
    assert said.stdout == f"Logged in to {URL} as admin. Stored in {place}.\n"
    assert json.loads(place.read_text()) == {"url": URL, "api_key": ADMIN_KEY, "insecure": False}
    assert operators.invoke("workers", key=None).stdout.startswith("NAME")
    operators.invoke("logout", key=None)
    assert operators.invoke("workers", key=None).exit_code == 4


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_the_role_of_the_key_is_shown(operators: Operators, role: str) -> None:
    key = operators.json(f"keys create me --role {role}", r.ApiKey).key
    said = operators.invoke(f"login {URL}", key=None, stdin=str(key))
    assert f"as {role}." in said.stdout and said.exit_code == 0


@pytest.mark.parametrize(
    ("url", "key", "exit_code", "complaint"),
    [
        (URL, "mst_key_wrong", 4, "does not accept this API key; nothing was stored"),
        (URL, "", 2, "not an API key"),
        (URL, "a\x1bb", 2, "not an API key"),
        ("muster.example", "mst_key_x", 2, "expected https://host[:port], got 'muster.example'"),
        ("https://u:p@muster.example", "mst_key_x", 2, "expected no user, password, query or fragment"),
        ("http://muster.example", "mst_key_x", 2, "plain HTTP would expose the key to the network"),
    ],
)
def test_a_url_or_a_key_that_is_not_good_is_not_kept(
    operators: Operators, url: str, key: str, exit_code: int, complaint: str
) -> None:
    said = operators.invoke(f"login {url}", key=None, stdin=f"{key}\n")
    assert (said.exit_code, said.stdout) == (exit_code, "")
    assert complaint in said.stderr and (not key or key not in said.stderr)
    assert not (operators.folder / "config").exists()


def test_a_broken_login_file_says_what_to_do(operators: Operators) -> None:
    place = account.keep(Account(URL, "k"), {"XDG_CONFIG_HOME": str(operators.folder / "config")})
    place.write_text("{")
    said = operators.invoke("ps", key=None)
    assert said.exit_code == 4 and "run muster login URL again" in said.stderr


def test_an_environment_that_hides_what_is_kept_is_named(operators: Operators) -> None:
    said = operators.invoke(f"login {URL}", stdin=f"{ADMIN_KEY}\n")
    assert said.exit_code == 0
    assert said.stderr == "MUSTER_URL or MUSTER_API_KEY is set, and takes precedence.\n"
