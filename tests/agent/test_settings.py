"""Settings and identity: what is refused at start, with the flag in the message."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.__main__ import main
from agent.identity import StateDir, StateError
from agent.policy import HostPolicy
from agent.settings import SettingError, bind_address, check_url, hub_cache, labels, shared_names

OURS = {"127.0.0.1", "10.1.2.3", "::1"}


@pytest.mark.parametrize(
    "url", ["https://muster.example", "http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]:8000"]
)
def test_good_urls(url: str) -> None:
    assert check_url(url, insecure=False) == url


@pytest.mark.parametrize(
    "url",
    ["http://muster.example", "http://10.0.0.1", "muster.example", "ftp://x", "https://u:p@x", "https://x?y=1", ""],
)
def test_bad_urls(url: str) -> None:
    with pytest.raises(SettingError, match="--url"):
        check_url(url, insecure=False)


def test_insecure_is_said_explicitly() -> None:
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
def test_models_listen_at(address: str | None, bind: str) -> None:
    assert bind_address(address, OURS) == bind


@pytest.mark.parametrize("address", ["192.0.2.1", "0.0.0.0", "no-such-host.invalid", "x{port}", "", "a" * 300])
def test_bad_addresses(address: str) -> None:
    with pytest.raises(SettingError, match="--address"):
        bind_address(address, OURS)


def test_labels() -> None:
    assert labels(["gpu=a100", "note=a=b", "empty="]) == {"gpu": "a100", "note": "a=b", "empty": ""}
    for wrong in ("gpu", "=x", "k" * 65 + "=v"):
        with pytest.raises(SettingError, match="--label"):
            labels([wrong])


def test_hub_cache() -> None:
    assert hub_cache({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}) == Path("/a")
    assert hub_cache({"HF_HOME": "/b"}) == Path("/b/hub")
    assert hub_cache({"XDG_CACHE_HOME": "/c"}) == Path("/c/huggingface/hub")


def test_deployments_may_take_what_the_owner_shares() -> None:
    environment = {"MUSTER_TOKEN": "t", "AWS_SECRET_ACCESS_KEY": "a", "HF_TOKEN": "h", "MINE": "m"}
    assert HostPolicy().environment(environment) == {"HF_TOKEN": "h"}
    assert HostPolicy(share_env=("MINE",)).environment(environment) == {"HF_TOKEN": "h", "MINE": "m"}


@pytest.mark.parametrize("name", ["MUSTER_TOKEN", "", "A=B"])
def test_the_agents_own_settings_are_not_shared(name: str) -> None:
    with pytest.raises(SettingError, match="--share-env"):
        shared_names([name])


def test_one_agent_a_folder(tmp_path: Path) -> None:
    first = StateDir(tmp_path / "state")
    with pytest.raises(StateError, match="another agent"):
        StateDir(tmp_path / "state")
    first.close()
    StateDir(tmp_path / "state").close()
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


GOOD = {"MUSTER_URL": "https://muster.example", "MUSTER_NAME": "n", "MUSTER_ENGINE": "process"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"MUSTER_URL": "http://muster.example"}, "--insecure"),
        ({"MUSTER_ADDRESS": "192.0.2.1"}, "--address"),
        ({"MUSTER_LABEL": "wrong"}, "--label"),
        ({"MUSTER_ENGINE": "podman"}, "--engine"),
        ({"MUSTER_TOKEN": ""}, "--token"),
        ({"MUSTER_VLLM_COMMAND": "no-such-program serve"}, "--vllm-command"),
        ({"MUSTER_VLLM_COMMAND": "'"}, "--vllm-command"),
    ],
)
def test_wrong_settings_are_told_at_once(tmp_path: Path, settings: dict[str, str], said: str) -> None:
    env = {**GOOD, "MUSTER_TOKEN": "very-secret", "MUSTER_STATE_DIR": str(tmp_path / "s"), **settings}
    outcome = CliRunner().invoke(main, [], env=env)
    assert outcome.exit_code != 0
    assert said in outcome.output
    assert "very-secret" not in outcome.output
    assert "Traceback" not in outcome.output


def test_help() -> None:
    outcome = CliRunner().invoke(main, ["--help"])
    assert outcome.exit_code == 0
    assert "MUSTER_" in outcome.output
