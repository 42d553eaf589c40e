"""Which proxy is on the way to a gateway, by the environment, and what is said of one that cannot be used."""

from __future__ import annotations

import pytest
import requests

from muster_agent.tunnel.proxies import Proxy, UnusableProxy, proxy_for

GATEWAY = "https://models.example.com"
HERE = "http://proxy.example.com:3128"


@pytest.mark.parametrize(
    ("url", "environ", "variable"),
    [
        (GATEWAY, {}, None),
        (GATEWAY, {"HTTPS_PROXY": " "}, None),
        (GATEWAY, {"HTTP_PROXY": HERE}, None),
        (GATEWAY, {"HTTPS_PROXY": HERE}, "HTTPS_PROXY"),
        (GATEWAY, {"HTTPS_PROXY": "http://other", "https_proxy": HERE}, "https_proxy"),
        (GATEWAY, {"ALL_PROXY": HERE}, "ALL_PROXY"),
        ("http://models.example.com", {"HTTPS_PROXY": HERE}, None),
        ("http://models.example.com", {"HTTP_PROXY": HERE}, "HTTP_PROXY"),
    ],
)
def test_the_variables_are_those_of_the_control_plane(
    url: str, environ: dict[str, str], variable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert proxy_for(url, environ) == (Proxy(variable, HERE) if variable else None)
    for name in ("https_proxy", "http_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    chosen = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
    assert (chosen or "").strip() == (HERE if variable else ""), "requests chooses the same one"


@pytest.mark.parametrize(
    ("host", "no_proxy", "is_direct"),
    [
        ("models.example.com", "*", True),
        ("models.example.com", "other.example.com, models.example.com", True),
        ("models.example.com", ".example.com", True),
        ("models.example.com", "*.example.com", True),
        ("MODELS.example.com", "Example.COM", True),
        ("models.example.com", "ample.com", False),
        ("models.example.com", "models.example.com:443", True),
        ("models.example.com", "models.example.com:8443", False),
        ("models.example.com", "10.0.0.0/8", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3:443", True),
        ("10.1.2.3", "10.1.2.30", False),
        ("[fd00::7]", "fd00::7", True),
        ("[fd00::7]", "[fd00::7]:443", True),
        ("[fd00::7]", "[fd00::7]:80", False),
        ("[fd00::7]", "fd00::/8", True),
        ("[fd00::7]", "10.0.0.0/8", False),
        ("models.example.com", " , ,.,", False),
    ],
)
@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
def test_hosts_of_no_proxy_are_connected_to_directly(host: str, no_proxy: str, is_direct: bool, variable: str) -> None:
    found = proxy_for(f"https://{host}", {"https_proxy": HERE, variable: no_proxy})
    assert (found is None) == is_direct


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("proxy.example.com:3128", HERE),
        ("http://user:p%40ss@proxy.example.com:3128", "http://user:p%40ss@proxy.example.com:3128"),
        ("http://user@proxy.example.com:3128/", "http://user:@proxy.example.com:3128/"),
        ("https://proxy.example.com", "https://proxy.example.com"),
    ],
)
def test_what_other_programs_take_is_taken(value: str, url: str) -> None:
    assert proxy_for(GATEWAY, {"HTTPS_PROXY": value}) == Proxy("HTTPS_PROXY", url)


@pytest.mark.parametrize(
    "value",
    [
        "http://user:s3cret/x@proxy.example.com:3128",
        "http://user:s3cret#x@proxy.example.com:3128",
        "http://user:s3cret?x@proxy.example.com:3128",
        "http://user:s3cret%ff@proxy.example.com:3128",
        "http://user:s3cret@proxy.example.com:port",
        "http://user:s3cret@[proxy:3128",
        "ftp://user:s3cret@proxy.example.com",
        "http://user:s3cret@",
    ],
)
def test_a_value_that_is_no_proxys_url_is_named_by_its_variable_alone(value: str) -> None:
    with pytest.raises(UnusableProxy, match=r"HTTPS_PROXY is not the URL of a proxy: give http://USER:PASSWORD@") as no:
        proxy_for(GATEWAY, {"HTTPS_PROXY": value})
    assert "s3cret" not in str(no.value)


def test_a_socks_proxy_needs_a_library() -> None:
    with pytest.raises(UnusableProxy, match="ALL_PROXY names a SOCKS proxy, and python-socks is not installed"):
        proxy_for(GATEWAY, {"ALL_PROXY": "socks5h://user:s3cret@proxy.example.com:1080"})


def test_no_password_is_shown() -> None:
    assert "s3cret" not in repr(proxy_for(GATEWAY, {"HTTPS_PROXY": "http://user:s3cret@proxy.example.com"}))
