"""From a deploy command to what is started: flags, policy, environment, ports."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import labels
from agent.engines import EngineError, Mount, RunSpec
from agent.flags import flags
from agent.policy import CONTAINER_HUB_CACHE, TESTED_IMAGE
from agent.vllm import PORTS, HostPolicy, desired_port, refusal, run_spec, served_model_name
from chalicelib.contract.messages import Deploy, FromHost

DEFAULT = HostPolicy()


def deploy(model: str = "org/model", **fields: Any) -> Deploy:
    return Deploy(command_id="c", deployment_id="d1", generation=1, backend="vllm", model=model, **fields)


def spec(
    command: Deploy, policy: HostPolicy = DEFAULT, env: dict[str, str] | None = None, images: bool = True
) -> RunSpec:
    return run_spec(
        command, worker_id="w", bind="127.0.0.1", port=20001, policy=policy, host_env=env or {}, uses_images=images
    )


def test_the_example_of_the_worker_api() -> None:
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


@pytest.mark.parametrize(
    ("config", "arguments"),
    [
        ({"enforce_eager": True}, ["--enforce-eager"]),
        ({"enable_prefix_caching": False}, ["--no-enable-prefix-caching"]),
        ({"quantization": None}, []),
        ({"served_model_name": ["a", "b"]}, ["--served-model-name", "a", "b"]),
        ({"middleware": []}, []),
        ({"hf_overrides": {"a": [1, "ü"]}}, ["--hf-overrides", '{"a": [1, "ü"]}']),
        ({"seed": -1}, ["--seed=-1"]),
        ({"chat-template": "-"}, ["--chat-template=-"]),
        ({"dtype": "half", "extra_args": ["-tp", "2", "--seed=3"]}, ["--dtype", "half", "-tp", "2", "--seed=3"]),
        ({"extra_args": None, "port": 1}, []),
    ],
)
def test_config_is_a_command_line(config: dict[str, Any], arguments: list[str]) -> None:
    assert list(flags(config)) == arguments


@pytest.mark.parametrize(
    "config",
    [
        {"a b": 1},
        {"--dtype": "x"},
        {"": 1},
        {"dtype": "nul\0"},
        {"dtype": "half \ud800"},
        {"model": "other"},
        {"host": "0.0.0.0"},
        {"api_key": "k"},
        {"extra_args": ["--hos", "0.0.0.0"]},
        {"extra_args": ["--api_key=k"]},
        {"extra_args": ["--model", "x"]},
        {"extra_args": ["--"]},
        {"extra_args": ["other-model"]},
        {"extra_args": "--dtype half"},
        {"extra_args": [1]},
        {"served_model_name": ["-x"]},
    ],
)
def test_what_is_no_flag_or_is_decided_elsewhere(config: dict[str, Any]) -> None:
    with pytest.raises(EngineError) as raised:
        spec(deploy(config=config))
    assert raised.value.error_code == "INVALID_CONFIG"
    assert "config." in raised.value.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=20), JSON, max_size=5))
def test_any_json_is_a_command_line_or_a_clear_no(config: dict[str, Any]) -> None:
    try:
        arguments = spec(deploy(config=config)).arguments
    except EngineError as error:
        assert error.error_code == "INVALID_CONFIG"
    else:
        assert all("\0" not in each for each in arguments)
        assert arguments[:4] == ("--model", "org/model", "--port", "20001")


@given(st.dictionaries(st.from_regex(r"x[a-z_]{0,10}", fullmatch=True), st.text(min_size=1), max_size=4))
def test_no_value_turns_into_a_flag(config: dict[str, str]) -> None:
    """What argparse reads back is what was given, whatever the values begin with."""
    try:
        arguments = list(flags(config))
    except EngineError:
        return
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for key in {key.replace("_", "-") for key in config}:
        parser.add_argument(f"--{key}")
    read = vars(parser.parse_args(arguments))
    for key in config:
        same = [value for other, value in config.items() if other.replace("_", "-") == key.replace("_", "-")]
        assert read[key.replace("-", "_")] == same[-1]


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
def test_the_name_that_clients_use(config: dict[str, Any], name: str) -> None:
    assert served_model_name(deploy(config=config)) == name


@pytest.mark.parametrize("port", [0, 65536, -1, "8001", True, 80.5, [1]])
def test_what_is_no_port(port: object) -> None:
    with pytest.raises(EngineError, match=r"config\.port"):
        desired_port(deploy(config={"port": port}))


def test_environment() -> None:
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


def test_the_default_image_is_one_release_and_the_owners_setting() -> None:
    assert re.fullmatch(r"vllm/vllm-openai:v\d+\.\d+\.\d+", TESTED_IMAGE)
    digest = "vllm/vllm-openai@sha256:" + "0" * 64
    policy = HostPolicy(allow_images=(), default_image=digest)
    assert spec(deploy(), policy).image == digest
    assert refusal(deploy(), policy, uses_images=True) is None


def test_ports_are_not_among_those_that_linux_gives_out() -> None:
    assert not set(PORTS) & set(range(32768, 61000))
    assert min(PORTS) > 1024


def test_gpus_are_known_by_uuid_where_the_driver_tells_them() -> None:
    command = deploy(gpus=[3, 1, 5])
    uuids = {0: "GPU-a", 1: "GPU-b", 3: "GPU-d"}
    made = run_spec(
        command,
        worker_id="w",
        bind="127.0.0.1",
        port=20001,
        policy=DEFAULT,
        host_env={},
        uses_images=True,
        uuids=uuids,
    )
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
def test_an_environment_that_cannot_be(env: dict[str, str | FromHost]) -> None:
    with pytest.raises(EngineError, match=f"env.{next(iter(env))}") as raised:
        spec(deploy(env=env), env={"MUSTER_TOKEN": "m"})
    assert raised.value.error_code == "INVALID_CONFIG"


@pytest.mark.parametrize(
    ("image", "patterns", "allowed"),
    [
        ("vllm/vllm-openai", (), False),
        (TESTED_IMAGE, (), True),  # the default image is the owner's own setting
        ("vllm/vllm-openai:v1", ("vllm/vllm-openai",), True),
        ("docker.io/vllm/vllm-openai:v1", ("vllm/vllm-openai",), True),
        ("vllm/vllm-openai@sha256:" + "0" * 64, ("vllm/vllm-openai",), True),
        ("evil.example/vllm/vllm-openai", ("vllm/vllm-openai",), False),
        ("vllm/vllm-openai-evil", ("vllm/vllm-openai",), False),
        ("vllm/vllm-openai:v2", ("vllm/vllm-openai:v1*",), False),
        ("vllm/vllm-openai:v1.2", ("vllm/vllm-openai:v1*",), True),
        ("localhost:5000/a/b:1", ("localhost:5000/*",), True),
        ("ubuntu", ("library/ubuntu",), True),
    ],
)
def test_images_that_the_host_allows(image: str, patterns: tuple[str, ...], allowed: bool) -> None:
    said = refusal(deploy(image=image), HostPolicy(allow_images=patterns), uses_images=True)
    assert (said is None) is allowed
    assert said is None or image in said


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("models/good", "private"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "models/escape").symlink_to(tmp_path / "private")
    (tmp_path / "models/alias").symlink_to("good")
    return tmp_path


@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize(
    ("model", "allowed"),
    [
        ("ROOT/models/good", True),
        ("ROOT/models/alias", True),
        ("ROOT/models/escape", False),
        ("ROOT/models/../private", False),
        ("ROOT/private", False),
        ("/etc", False),
        ("./models", False),
        ("~/models", False),
        ("file:///etc", False),
        ("a/../../etc", False),
        ("org/model", True),
        ("gpt2", True),
        ("org/model:Q4_K_M", True),
        ("s3://bucket/a", True),
        ("-x", False),
        ("a b", False),
        ("a/b/c", False),
    ],
)
def test_models_that_the_host_allows(root: Path, model: str, allowed: bool, images: bool) -> None:
    command = deploy(model.replace("ROOT", str(root)))
    said = refusal(command, HostPolicy(model_root=root / "models"), images)
    assert (said is None) is allowed, said
    if command.model.startswith("/"):
        assert refusal(command, DEFAULT, images) is not None


def test_a_process_sees_no_path_outside_the_models(root: Path) -> None:
    policy = HostPolicy(model_root=root / "models")
    for config in (
        {"tokenizer": "/etc"},
        {"extra_args": ["--download-dir=/etc"]},
        {"speculative_config": {"model": "/etc"}},
        {"lora_modules": ["/etc"]},
    ):
        assert "/etc" in (refusal(deploy(config=config), policy, uses_images=False) or "")
        assert refusal(deploy(config=config), policy, uses_images=True) is None
    assert refusal(deploy(config={"tokenizer": str(root / "models/good")}), policy, uses_images=False) is None
    for name in ("LD_PRELOAD", "PATH", "PYTHONPATH"):
        assert name in (refusal(deploy(env={name: "x"}), policy, uses_images=False) or "")


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


@given(st.text(min_size=1))
def test_any_model_is_allowed_or_refused_in_words(model: str) -> None:
    said = refusal(deploy(model), DEFAULT, uses_images=False)
    assert said is None or said.startswith("model: ")
    if said is None:
        assert json.dumps(model)
        assert not model.startswith(("-", "/", ".", "~"))
