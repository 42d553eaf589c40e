"""Settings: what is refused at start, with the flag in the message."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.settings import SettingError, bind_address, check_url, hub_cache, labels, shared_names

OURS = {"127.0.0.1", "10.1.2.3", "::1"}


@pytest.mark.parametrize(
    "url", ["https://muster.example", "http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]:8000"]
)
def test_https_and_loopback_urls_are_taken(url: str) -> None:
    assert check_url(url, insecure=False) == url


@pytest.mark.parametrize(
    "url",
    ["http://muster.example", "http://10.0.0.1", "muster.example", "ftp://x", "https://u:p@x", "https://x?y=1", ""],
)
def test_plain_http_and_what_is_no_url_are_refused(url: str) -> None:
    with pytest.raises(SettingError, match="--url"):
        check_url(url, insecure=False)


def test_plain_http_is_taken_where_insecure_is_set() -> None:
    assert check_url("http://muster.example", insecure=True)


@pytest.mark.parametrize(
    ("address", "bind"),
    [
        (None, "127.0.0.1"),
        ("10.1.2.3", "10.1.2.3"),
        ("[::1]", "::1"),
        ("https://pod-{port}.proxy.example", "127.0.0.1"),
    ],
)
def test_models_listen_at_the_given_address_of_this_host_or_at_loopback(address: str | None, bind: str) -> None:
    assert bind_address(address, OURS) == bind


@pytest.mark.parametrize("address", ["192.0.2.1", "0.0.0.0", "no-such-host.invalid", "x{port}", "", "a" * 300])
def test_an_address_that_this_host_does_not_have_is_refused(address: str) -> None:
    with pytest.raises(SettingError, match="--address"):
        bind_address(address, OURS)


def test_a_label_is_a_key_and_a_value() -> None:
    assert labels(["gpu=a100", "note=a=b", "empty="]) == {"gpu": "a100", "note": "a=b", "empty": ""}
    for wrong in ("gpu", "=x", "k" * 65 + "=v"):
        with pytest.raises(SettingError, match="--label"):
            labels([wrong])


def test_the_hub_cache_is_where_hugging_face_keeps_it() -> None:
    assert hub_cache({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}) == Path("/a")
    assert hub_cache({"HF_HOME": "/b"}) == Path("/b/hub")
    assert hub_cache({"XDG_CACHE_HOME": "/c"}) == Path("/c/huggingface/hub")


@pytest.mark.parametrize("name", ["MUSTER_TOKEN", "", "A=B"])
def test_the_agents_own_settings_are_not_shared(name: str) -> None:
    with pytest.raises(SettingError, match="--share-env"):
        shared_names([name])
