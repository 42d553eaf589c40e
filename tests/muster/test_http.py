"""Whom a session trusts, whichever variables name the authorities; what it repeats; and how it presents a token."""

from __future__ import annotations

import pytest
import requests

from muster.api.connection import CA_VARIABLES
from muster.http import Bearer, new_session
from muster.session import RETRIES
from tests.fixtures.certificates import Authority


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CA_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def status(url: str, environ: dict[str, str]) -> int:
    with new_session(environ) as session:
        return session.get(url, timeout=60).status_code


@pytest.mark.parametrize("name", CA_VARIABLES)
def test_each_variable_by_itself_is_trusted(secure: str, own: Authority, name: str) -> None:
    assert status(secure, {name: own.file}) == 200


@pytest.mark.parametrize("name", CA_VARIABLES)
def test_each_variable_is_trusted_beside_others(secure: str, own: Authority, other: Authority, name: str) -> None:
    others = dict.fromkeys(CA_VARIABLES, other.file)
    assert status(secure, others | {name: own.file}) == 200
    assert status(secure, {"SSL_CERT_FILE": "/nowhere.pem", "REQUESTS_CA_BUNDLE": own.file}) == 200
    with pytest.raises(requests.exceptions.SSLError):
        status(secure, others)


def test_a_proxy_changes_nothing_about_who_is_trusted(own: Authority, other: Authority) -> None:
    with new_session({"REQUESTS_CA_BUNDLE": other.file, "SSL_CERT_FILE": own.file}) as session:
        adapter = session.get_adapter("https://x")
        assert isinstance(adapter, requests.adapters.HTTPAdapter)
        proxied = adapter.proxy_manager_for("http://127.0.0.1:1")
        context = proxied.connection_pool_kw["ssl_context"]
    (trusted,) = context.get_ca_certs()
    assert trusted["subject"][0][0][1] == own.name.rdns[0].rfc4514_string().removeprefix("CN=")


def test_without_variables_nobody_of_ones_own_is_trusted(secure: str) -> None:
    with pytest.raises(requests.exceptions.SSLError):
        status(secure, {})


def test_it_repeats_what_may_be_repeated() -> None:
    with new_session({}, RETRIES) as session:
        adapter = session.get_adapter("https://muster.example")
    assert isinstance(adapter, requests.adapters.HTTPAdapter)
    assert adapter.max_retries.total == RETRIES.total


def test_netrc_does_not_replace_the_token() -> None:
    """What requests does with ~/.netrc, it does not do where a request brings an AuthBase of its own."""
    request = requests.Request("POST", "https://muster.example", auth=Bearer("t")).prepare()
    assert request.headers["Authorization"] == "Bearer t"
