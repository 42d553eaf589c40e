"""From a deploy command to what is started: arguments, environment, ports, GPUs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.api.messages import Deploy, FromHost
from muster_agent.backends.command import desired_port, run_template, served_model_name
from muster_agent.backends.flags import flags
from muster_agent.backends.mounts import AllowedMount
from muster_agent.backends.policy import CONTAINER_HUB_CACHE, TESTED_IMAGE, HostPolicy
from muster_agent.engines import labels
from muster_agent.engines.base import EngineError, Mount, RunSpec
from tests.fixtures.commands import deploy

DEFAULT = HostPolicy()


def spec(
    command: Deploy, policy: HostPolicy = DEFAULT, env: dict[str, str] | None = None, images: bool = True
) -> RunSpec:
    return run_template(command, policy, env or {}, images).spec("w", "127.0.0.1", 20001)


def test_the_example_of_the_worker_api_becomes_its_command_line() -> None:
    command = deploy(
        "meta-llama/Llama-2-7b-chat-hf", config={"gpu_memory_utilization": 0.9, "max_model_len": 4096, "port": 8001}
    )
    model = "meta-llama/Llama-2-7b-chat-hf"
    settings = ("--gpu-memory-utilization", "0.9", "--max-model-len", "4096")
    assert desired_port(command) == 8001
    assert spec(command).arguments == ("--model", model, "--port", "20001", *settings)
    assert spec(command, images=False).arguments == (model, "--host", "127.0.0.1", "--port", "20001", *settings)
    assert spec(command).image == TESTED_IMAGE
    assert spec(command, images=False).image is None
    digest = "vllm/vllm-openai@sha256:" + "0" * 64
    assert spec(command, HostPolicy(allow_images=(), default_image=digest)).image == digest


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.text(max_size=20), JSON, max_size=3))
def test_any_json_is_a_command_line_or_is_refused_as_invalid_or_as_a_path(config: dict[str, Any]) -> None:
    try:
        arguments = spec(deploy(config=config)).arguments
    except EngineError as error:
        assert error.error_code == "INVALID_CONFIG" or "--model-root" in error.message
    else:
        assert all("\0" not in each for each in arguments)
        assert arguments[:4] == ("--model", "org/model", "--port", "20001")


@pytest.mark.parametrize(
    ("gpus", "config", "added"),
    [
        ([], {}, []),
        ([0], {}, []),
        ([0, 3], {}, ["--tensor-parallel-size", "2"]),
        ([0, 3], {"tensor_parallel_size": 1}, []),
        ([0, 3], {"pipeline_parallel_size": 2}, []),
        ([0, 3], {"extra_args": ["-tp", "1"]}, []),
        ([0, 3], {"extra_args": ["--data-parallel-size=2"]}, []),
    ],
)
def test_several_gpus_share_the_model(gpus: list[int], config: dict[str, Any], added: list[str]) -> None:
    arguments = list(spec(deploy(gpus=gpus, config=config)).arguments)
    assert arguments == ["--model", "org/model", "--port", "20001", *flags(config), *added]


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({}, "org/model"),
        ({"served_model_name": "chat"}, "chat"),
        ({"served-model-name": ["one", "two"]}, "one"),
        ({"served_model_name": []}, "org/model"),
        ({"extra_args": ["--served-model-name", "x", "y"]}, "x"),
        ({"extra_args": ["--served_model_name=z"]}, "z"),
    ],
)
def test_clients_use_the_first_served_name_or_the_models_own(config: dict[str, Any], name: str) -> None:
    assert served_model_name(deploy(config=config)) == name


@pytest.mark.parametrize("port", [0, 65536, -1, "8001", True, 80.5, [1]])
def test_a_port_is_a_number_from_1_to_65535(port: object) -> None:
    with pytest.raises(EngineError, match=r"config\.port"):
        desired_port(deploy(config={"port": port}))


def test_an_instance_gets_how_to_reach_the_hub_and_what_the_deployment_sets() -> None:
    host = {"HF_TOKEN": "t", "HTTPS_PROXY": "p", "SECRET": "s", "MUSTER_TOKEN": "m", "no_proxy": ""}
    env = {"PLAIN": "1", "SECRET": FromHost(from_host=True), "HF_TOKEN": "own"}
    assert spec(deploy(env=env), env=host).env == {"HF_TOKEN": "own", "HTTPS_PROXY": "p", "PLAIN": "1", "SECRET": "s"}
    assert "own" not in repr(spec(deploy(env=env), env=host))


@pytest.mark.parametrize("name", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT", "HTTPS_PROXY", "all_proxy"])
def test_how_to_reach_the_hub_is_passed_on_and_shown_nowhere(name: str) -> None:
    made = spec(deploy(), env={name: "hf_secret"})
    assert made.env == {name: "hf_secret"}
    assert "hf_secret" not in repr(made)
    assert not any("hf_secret" in each for each in (*made.arguments, *labels.write(made).values(), made.name))


def test_gpus_are_known_by_uuid_where_the_driver_tells_them() -> None:
    command = deploy(gpus=[3, 1, 5])
    uuids = {0: "GPU-a", 1: "GPU-b", 3: "GPU-d"}
    made = run_template(command, DEFAULT, {}, True).spec("w", "127.0.0.1", 20001, uuids=uuids)
    assert (made.gpus, made.devices) == ((3, 1, 5), ("GPU-d", "GPU-b", "5"))
    assert spec(command).device_ids == ("3", "1", "5")


@pytest.mark.parametrize(
    "env",
    [
        {"ABSENT": FromHost(from_host=True)},
        {"MUSTER_TOKEN": FromHost(from_host=True)},
        {"CUDA_VISIBLE_DEVICES": "0"},
        {"A": "\0"},
    ],
)
def test_a_variable_that_is_absent_or_decided_elsewhere_is_refused_by_name(env: dict[str, str | FromHost]) -> None:
    with pytest.raises(EngineError, match=f"env.{next(iter(env))}") as raised:
        spec(deploy(env=env), env={"MUSTER_TOKEN": "m"})
    assert raised.value.error_code == "INVALID_CONFIG"


def test_local_weights_are_mounted_and_served_under_their_own_name(root: Path) -> None:
    policy = HostPolicy(model_root=root / "models", hub_cache=root / "hub")
    alias = str(root / "models/alias")
    made = spec(deploy(alias), policy)
    assert made.arguments[:2] == ("--model", str((root / "models/good").resolve()))
    assert made.arguments[-2:] == ("--served-model-name", alias)
    models = (root / "models").resolve()
    assert made.mounts == (
        Mount((root / "hub").resolve(), CONTAINER_HUB_CACHE, read_only=False),
        Mount(models, str(models), read_only=True),
    )
    assert made.env["HF_HUB_CACHE"] == CONTAINER_HUB_CACHE
    assert spec(deploy(alias), policy, images=False).mounts == ()
    assert spec(deploy("org/model"), HostPolicy(model_root=root)).mounts == ()


def test_files_of_the_owner_are_mounted_wherever_the_command_names_them(root: Path) -> None:
    models = root / "models"
    policy = HostPolicy(model_root=models, hub_cache=root / "hub")
    cache = Mount(root / "hub", CONTAINER_HUB_CACHE, read_only=False)
    mounted = (cache, Mount(models, str(models), read_only=True))
    for config in (
        {"enable_lora": True, "lora_modules": [f"a={models}/good", f"b={models}/good"]},
        {"lora_modules": json.dumps([{"name": "a", "path": f"{models}/good"}])},
        {"chat_template": f"{models}/good/t.jinja"},
        {"speculative_config.model": f"{models}/good"},
        {"extra_args": ["--tokenizer", f"{models}/good"]},
    ):
        made = spec(deploy(config=config), policy)
        assert made.mounts == mounted
        assert made.arguments[:2] == ("--model", "org/model")
        assert spec(deploy(config=config), policy, images=False).mounts == ()
    assert spec(deploy(env={"TIKTOKEN_ENCODINGS_BASE": f"{models}/good"}), policy).mounts == mounted
    assert spec(deploy(config={"chat_template": "examples/t.jinja"}), policy).mounts == (cache,)


def test_files_that_are_named_by_way_of_a_link_are_mounted_there(root: Path) -> None:
    (root / "linked").symlink_to(root / "models")
    config = {"tokenizer": f"{root}/linked/good", "chat_template": f"{root}/linked/good/t"}
    models = str(root / "models")
    by_root = spec(deploy(config=config), HostPolicy(model_root=root / "linked")).mounts
    assert [(str(each.source), each.target) for each in by_root] == [(models, models), (models, f"{root}/linked")]
    by_path = spec(deploy(config=config), HostPolicy(model_root=root / "models")).mounts
    assert (f"{models}/good", f"{root}/linked/good") in [(str(each.source), each.target) for each in by_path]


def test_a_path_that_left_the_models_since_the_check_is_refused_at_the_start(root: Path) -> None:
    alias = root / "models/alias"
    command, policy = deploy(config={"tokenizer": str(alias)}), HostPolicy(model_root=root / "models")
    assert len(spec(command, policy).mounts) == 1
    alias.unlink()
    alias.symlink_to(root / "private")
    with pytest.raises(EngineError, match=r"config\.tokenizer") as raised:
        spec(command, policy)
    assert raised.value.error_code == "REFUSED_BY_HOST"


def test_what_a_deployment_asks_of_its_container_is_in_what_is_started(root: Path) -> None:
    policy = HostPolicy(
        allow_mounts=(AllowedMount(root / "private", False),), allow_entrypoint=True, allow_host_network=True
    )
    config = {
        "container_mounts": [f"{root}/private:/work", f"{root}/private:/read:ro"],
        "container_entrypoint": ["python3", "-m", "mine"],
        "container_network": "host",
    }
    made = spec(deploy(config=config), policy)
    assert made.entrypoint == ("python3", "-m", "mine")
    assert made.host_network
    assert made.mounts == (Mount(root / "private", "/work", False), Mount(root / "private", "/read", True))
    assert made.arguments == ("--model", "org/model", "--host", "127.0.0.1", "--port", "20001")
    plain = spec(deploy(), policy)
    assert (plain.entrypoint, plain.host_network, plain.mounts) == ((), False, ())


@pytest.mark.parametrize("key", ["container_mounts", "container_entrypoint", "container_network"])
def test_what_the_owner_does_not_allow_is_refused_at_the_start_too(root: Path, key: str) -> None:
    asked = {"container_mounts": [f"{root}:/x"], "container_entrypoint": "x", "container_network": "host"}
    with pytest.raises(EngineError, match=key) as raised:
        spec(deploy(config={key: asked[key]}))
    assert raised.value.error_code == "REFUSED_BY_HOST"
