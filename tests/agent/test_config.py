"""Settings: what is refused at start, with the flag in the message."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from muster_agent.config import (
    AgentConfig,
    SettingError,
    check_address,
    check_url,
    hub_cache,
    labels,
    mountable_folders,
    shared_names,
)
from muster_agent.main import main


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
    "address",
    [None, "10.1.2.3", "[fd00::1]", "127.0.0.1", "gpu-1", "not-there-yet.example", "https://pod-{port}.proxy.example"],
)
def test_an_address_may_be_away_when_the_agent_starts(address: str | None) -> None:
    assert check_address(address) == address


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "::", "169.254.169.254", "fe80::1%eth0", "224.0.0.1", "metadata.google.internal"),
        *("x{port}", "", "a" * 300, "10.1.2.3:8000", "ftp://x/{port}", "http://gpu-1", "http://u@gpu-1:{port}"),
    ],
)
def test_what_no_worker_can_have_as_its_address_is_refused(address: str) -> None:
    with pytest.raises(SettingError, match="--address"):
        check_address(address)


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


def test_a_folder_for_mounts_is_there_and_may_be_read_only(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    given = [f"{tmp_path}:ro", str(tmp_path / "link"), f"{tmp_path}:rw"]
    assert mountable_folders(given) == ((tmp_path, True), (tmp_path, False), (tmp_path, False))
    for wrong in ("relative", "", ":ro", f"{tmp_path}:", f"{tmp_path}:z", f"{tmp_path}/none", "/etc/passwd"):
        with pytest.raises(SettingError, match="--allow-mount"):
            mountable_folders([wrong])


def options_of(url: str, **given: Any) -> dict[str, Any]:
    """The options of a command line with `--url` alone, as click reads them, and those that are `given`."""
    return {**main.make_context("muster-agent", ["--url", url]).params, **given}


def test_each_option_has_its_field() -> None:
    options = {parameter.name for parameter in main.params} - {"version"}
    assert {field.name for field in fields(AgentConfig)} == options


def test_a_configuration_holds_what_the_options_mean(tmp_path: Path) -> None:
    options = options_of(
        "https://muster.example",
        token="very-secret",
        label=("gpu=a100",),
        allow_mount=(f"{tmp_path}:ro",),
        share_env=("LANG",),
    )
    config = AgentConfig.from_options(options)
    assert (config.url, config.label) == ("https://muster.example", {"gpu": "a100"})
    assert (config.allow_mount, config.share_env) == (((tmp_path, True),), ("LANG",))
    assert "very-secret" not in repr(config)


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"url": "http://muster.example"}, "--url"),
        ({"address": "0.0.0.0"}, "--address"),
        ({"label": ("wrong",)}, "--label"),
        ({"share_env": ("MUSTER_TOKEN",)}, "--share-env"),
        ({"allow_mount": ("relative",)}, "--allow-mount"),
    ],
)
def test_a_wrong_option_makes_no_configuration(options: dict[str, Any], flag: str) -> None:
    with pytest.raises(SettingError) as raised:
        AgentConfig.from_options({**options_of("https://muster.example"), **options})
    assert raised.value.flag == flag
