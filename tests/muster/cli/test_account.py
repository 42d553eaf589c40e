"""Which control plane and which key: what is kept, for whom, and what a key is never sent to."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from muster.cli import account
from muster.cli.account import Account, AccountError


def test_a_kept_account_is_a_file_that_its_owner_alone_reads(tmp_path: Path) -> None:
    home = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    place = account.keep(Account("https://kept.example", "kept"), home)
    assert place == tmp_path / "config" / "muster" / "login.json"
    assert stat.S_IMODE(place.stat().st_mode) == 0o600 and stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    assert json.loads(place.read_text()) == {"url": "https://kept.example", "api_key": "kept", "insecure": False}
    assert account.load(home) == Account("https://kept.example", "kept")
    assert [each.name for each in place.parent.iterdir()] == ["login.json"], "nothing else is left beside it"


def test_a_forgotten_account_is_gone_and_may_be_forgotten_twice(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    place = account.keep(Account("https://kept.example", "kept"), home)
    assert place == tmp_path / ".config" / "muster" / "login.json"
    assert account.forget(home) == account.forget(home) == place
    with pytest.raises(AccountError, match=r"^not logged in: run muster login URL"):
        account.load(home)


def test_the_environment_comes_before_what_was_kept(tmp_path: Path) -> None:
    home = {"XDG_CONFIG_HOME": str(tmp_path)}
    account.keep(Account("https://kept.example", "kept"), home)
    assert account.load(home) == Account("https://kept.example", "kept")
    both = {**home, "MUSTER_URL": "https://other.example/", "MUSTER_API_KEY": "other"}
    assert account.load(both) == Account("https://other.example", "other")
    assert account.load({**home, "MUSTER_API_KEY": "other"}) == Account("https://kept.example", "other")
    assert account.load({**home, "MUSTER_URL": "https://kept.example/"}).api_key == "kept"


def test_a_kept_key_goes_to_no_other_url(tmp_path: Path) -> None:
    home = {"XDG_CONFIG_HOME": str(tmp_path)}
    account.keep(Account("https://kept.example", "kept"), home)
    with pytest.raises(AccountError, match="set both, or neither"):
        account.load({**home, "MUSTER_URL": "https://other.example"})


def test_a_key_without_a_url_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(AccountError, match=r"^MUSTER_API_KEY is set and MUSTER_URL is not: "):
        account.load({"XDG_CONFIG_HOME": str(tmp_path), "MUSTER_API_KEY": "k"})


def test_a_key_is_in_no_representation() -> None:
    assert "secret" not in repr(Account("https://kept.example", "secret"))


def test_plain_http_needs_this_machine_or_a_word_that_allows_it() -> None:
    assert account.check_url("http://127.0.0.1:8000", False) == "http://127.0.0.1:8000"
    assert account.check_url("http://10.0.0.5:8000/", True) == "http://10.0.0.5:8000"
    with pytest.raises(AccountError, match="MUSTER_INSECURE=1"):
        account.load({"MUSTER_URL": "http://10.0.0.5", "MUSTER_API_KEY": "k"})
    assert account.load({"MUSTER_URL": "http://10.0.0.5", "MUSTER_API_KEY": "k", "MUSTER_INSECURE": "1"}).url


@pytest.mark.parametrize("key", ["", "  ", "a\x1bb", "clé", "k" * 513])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(AccountError) as raised:
        account.check_key(key)
    assert str(raised.value) == "not an API key: expected one line such as mst_key_…"


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("muster.localhost", True),
        ("10.0.0.5", False),
        ("localhost.example", False),
    ],
)
def test_only_loopback_is_this_machine(host: str, is_here: bool) -> None:
    assert account.is_loopback(host) is is_here
