"""muster login: what is kept, how, and what a key is never sent to."""

from __future__ import annotations

import json
import stat

import pytest

from chalicelib.contract import resources as r
from muster.cli import account
from muster.cli.account import Account, AccountError
from tests.fixtures.app import ADMIN_KEY
from tests.fixtures.operators import URL, Operators


def test_it_is_tried_and_then_kept_for_its_owner_alone(operators: Operators) -> None:
    said = operators.invoke(f"login {URL}/", key=None, stdin=f"{ADMIN_KEY}\n")
    place = operators.folder / "config" / "muster" / "login.json"
    assert said.stdout == f"Logged in to {URL} as admin. Kept in {place}.\n"
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert json.loads(place.read_text()) == {"url": URL, "api_key": ADMIN_KEY, "insecure": False}
    assert operators.invoke("workers", key=None).stdout.startswith("NAME")
    operators.invoke("logout", key=None)
    assert operators.invoke("workers", key=None).exit_code == 4


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_it_says_which_role_the_key_has(operators: Operators, role: str) -> None:
    key = operators.json(f"keys create me --role {role}", r.ApiKey).key
    said = operators.invoke(f"login {URL}", key=None, stdin=str(key))
    assert f"as {role}." in said.stdout and said.exit_code == 0


@pytest.mark.parametrize(
    ("url", "key", "exit_code", "complaint"),
    [
        (URL, "mst_key_wrong", 4, "does not take this API key; nothing was kept"),
        (URL, "", 2, "that is no API key"),
        (URL, "a\x1bb", 2, "that is no API key"),
        ("muster.example", "mst_key_x", 2, "expected https://host[:port], got 'muster.example'"),
        ("https://u:p@muster.example", "mst_key_x", 2, "expected no user, password, query or fragment"),
        ("http://muster.example", "mst_key_x", 2, "plain http would show the key to the network"),
    ],
)
def test_what_is_not_good_is_not_kept(operators: Operators, url: str, key: str, exit_code: int, complaint: str) -> None:
    said = operators.invoke(f"login {url}", key=None, stdin=f"{key}\n")
    assert (said.exit_code, said.stdout) == (exit_code, "")
    assert complaint in said.stderr and (not key or key not in said.stderr)
    assert not (operators.folder / "config").exists()


def test_the_environment_comes_before_what_was_kept(operators: Operators) -> None:
    home = {"XDG_CONFIG_HOME": str(operators.folder)}
    account.keep(Account("https://kept.example", "kept"), home)
    assert account.load(home) == Account("https://kept.example", "kept")
    both = {**home, "MUSTER_URL": "https://other.example/", "MUSTER_API_KEY": "other"}
    assert account.load(both) == Account("https://other.example", "other")
    assert account.load({**home, "MUSTER_API_KEY": "other"}) == Account("https://kept.example", "other")
    assert account.load({**home, "MUSTER_URL": "https://kept.example/"}).api_key == "kept"


def test_a_kept_key_goes_to_no_other_url(operators: Operators) -> None:
    home = {"XDG_CONFIG_HOME": str(operators.folder)}
    account.keep(Account("https://kept.example", "kept"), home)
    with pytest.raises(AccountError, match="set both, or neither"):
        account.load({**home, "MUSTER_URL": "https://other.example"})


def test_a_key_is_in_no_representation() -> None:
    assert "secret" not in repr(Account("https://kept.example", "secret"))


def test_plain_http_is_allowed_by_name() -> None:
    assert account.check_url("http://127.0.0.1:8000", False) == "http://127.0.0.1:8000"
    assert account.check_url("http://10.0.0.5:8000/", True) == "http://10.0.0.5:8000"
    with pytest.raises(AccountError, match="MUSTER_INSECURE=1"):
        account.load({"MUSTER_URL": "http://10.0.0.5", "MUSTER_API_KEY": "k"})
    assert account.load({"MUSTER_URL": "http://10.0.0.5", "MUSTER_API_KEY": "k", "MUSTER_INSECURE": "1"}).url


def test_what_was_kept_and_is_broken_says_what_to_do(operators: Operators) -> None:
    place = account.keep(Account(URL, "k"), {"XDG_CONFIG_HOME": str(operators.folder / "config")})
    place.write_text("{")
    said = operators.invoke("ps", key=None)
    assert said.exit_code == 4 and "run muster login URL again" in said.stderr
