"""What the host's owner allows: images, models, paths, variables."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engines import EngineError
from agent.policy import TESTED_IMAGE, HostPolicy, named, refusal
from chalicelib.contract.messages import FromHost, Image
from tests.fixtures.commands import deploy

DEFAULT = HostPolicy()


def test_the_default_image_is_one_release_and_the_owners_setting() -> None:
    assert re.fullmatch(r"vllm/vllm-openai:v\d+\.\d+\.\d+", TESTED_IMAGE)
    digest = "vllm/vllm-openai@sha256:" + "0" * 64
    policy = HostPolicy(allow_images=(), default_image=digest)
    assert policy.allows_image(digest)
    assert refusal(deploy(), policy, uses_images=True) is None


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
def test_an_image_runs_if_it_is_the_default_or_matches_a_pattern(
    image: str, patterns: tuple[str, ...], allowed: bool
) -> None:
    said = refusal(deploy(image=image), HostPolicy(allow_images=patterns), uses_images=True)
    assert (said is None) is allowed
    assert said is None or image in said


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
def test_a_model_is_a_hub_id_or_a_path_below_the_model_root(
    root: Path, model: str, allowed: bool, images: bool
) -> None:
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


@given(st.text(min_size=1))
def test_any_model_is_allowed_or_refused_in_words(model: str) -> None:
    said = refusal(deploy(model), DEFAULT, uses_images=False)
    assert said is None or said.startswith("model: ")
    if said is None:
        assert json.dumps(model)
        assert not model.startswith(("-", "/", ".", "~"))


def test_deployments_may_take_what_the_owner_shares() -> None:
    environment = {"MUSTER_TOKEN": "t", "AWS_SECRET_ACCESS_KEY": "a", "HF_TOKEN": "h", "MINE": "m"}
    assert HostPolicy().environment(environment) == {"HF_TOKEN": "h"}
    assert HostPolicy(share_env=("MINE",)).environment(environment) == {"HF_TOKEN": "h", "MINE": "m"}


DIGEST = "sha256:" + "ab" * 32
IMAGES = [
    Image("sha256:" + "11" * 32, ["vllm/vllm-openai:v1"], 1, "", digests=[f"vllm/vllm-openai@{DIGEST}"]),
    Image("sha256:" + "22" * 32, ["ubuntu:latest", "registry:5000/a/b:1"], 1, ""),
]


@pytest.mark.parametrize(
    ("reference", "index"),
    [
        ("vllm/vllm-openai:v1", 0),
        ("docker.io/vllm/vllm-openai:v1", 0),
        ("index.docker.io/vllm/vllm-openai:v1", 0),
        (f"vllm/vllm-openai@{DIGEST}", 0),
        ("sha256:" + "11" * 32, 0),
        ("1111", 0),
        ("sha256:2222", 1),
        ("ubuntu", 1),
        ("library/ubuntu", 1),
        ("registry:5000/a/b:1", 1),
        ("registry:5000/a/b", None),
        ("vllm/vllm-openai", None),
        ("vllm/vllm-openai:v2", None),
        ("3333", None),
    ],
)
def test_an_image_is_named_by_tag_digest_id_or_the_beginning_of_one(reference: str, index: int | None) -> None:
    assert named(IMAGES, reference) is (None if index is None else IMAGES[index])


@pytest.mark.parametrize(
    ("name", "shared"), [("HF_TOKEN", True), ("https_proxy", True), ("MINE", True), ("OTHER", False)]
)
@pytest.mark.parametrize("images", [True, False])
def test_a_deployment_gets_from_the_host_what_its_owner_shares_and_no_more(
    name: str, shared: bool, images: bool
) -> None:
    said = refusal(deploy(env={name: FromHost(from_host=True)}), HostPolicy(share_env=("MINE",)), images)
    assert (said is None) is shared
    assert said is None or (name in said and "--share-env" in said)


@pytest.mark.parametrize("images", [True, False], ids=["container", "process"])
@pytest.mark.parametrize("name", ["LD_PRELOAD", "NVIDIA_DRIVER_CAPABILITIES"])
def test_no_setting_allows_variables_that_reach_the_hosts_own_programs(name: str, images: bool) -> None:
    policy = HostPolicy(share_env=(name,), allow_remote_code=True)
    assert f"env.{name}: " in (refusal(deploy(env={name: "x"}), policy, images) or "")


@pytest.mark.parametrize("images", [True, False], ids=["container", "process"])
@pytest.mark.parametrize("name", ["PYTHONPATH", "CC", "VLLM_PLUGINS", "RAY_ADDRESS", "VLLM_NEW"])
def test_a_variable_passes_if_it_is_harmless_or_the_owner_shares_it(name: str, images: bool) -> None:
    command = deploy(env={name: "x", "NVIDIA_TF32_OVERRIDE": "0", "VLLM_LOGGING_LEVEL": "DEBUG"})
    said = refusal(command, DEFAULT, images)
    assert said is not None
    assert f"env.{name}: " in said
    assert f"--share-env {name}" in said
    assert refusal(command, HostPolicy(share_env=(name,)), images) is None


def test_a_variable_of_an_images_own_program_is_the_containers_affair() -> None:
    command = deploy(env={"SOMETHING": "x"})
    assert refusal(command, DEFAULT, uses_images=True) is None
    assert "env.SOMETHING: " in (refusal(command, DEFAULT, uses_images=False) or "")


@pytest.mark.parametrize("images", [True, False], ids=["container", "process"])
@pytest.mark.parametrize(
    "config",
    [
        {"extra_args": ["--worker-cls", "a.b"]},
        {"middleware": ["a.b"]},
        {"tool_parser_plugin": "x.py"},
        {"kv_transfer_config": {"kv_connector_module_path": "a.b"}},
        {"distributed_executor_backend": "a.b.C"},
    ],
)
def test_a_deployment_chooses_code_where_the_owner_allows_it_alone(config: dict[str, object], images: bool) -> None:
    command = deploy(config=config, env={"RAY_ADDRESS": "203.0.113.1:6379"})
    assert "--allow-remote-code" in (refusal(deploy(config=config), DEFAULT, images) or "")
    assert "--allow-remote-code" in (refusal(command, DEFAULT, images) or "")
    assert refusal(command, HostPolicy(allow_remote_code=True), images) is None


@pytest.mark.parametrize(
    "config",
    [
        {"trust_remote_code": True},
        {"trust-remote-code": True},
        {"extra_args": ["--trust-remote-code"]},
        {"extra_args": ["--trust-remote"]},
    ],
)
def test_a_model_brings_code_to_containers_and_to_processes_where_the_owner_allows_it(
    config: dict[str, object],
) -> None:
    command = deploy(config=config)
    assert "--allow-remote-code" in (refusal(command, DEFAULT, uses_images=False) or "")
    assert refusal(command, HostPolicy(allow_remote_code=True), uses_images=False) is None
    assert refusal(command, DEFAULT, uses_images=True) is None


def test_a_link_that_was_moved_out_of_the_root_after_the_check_is_refused(root: Path) -> None:
    policy = HostPolicy(model_root=root / "models")
    alias = root / "models" / "alias"
    assert policy.location(str(alias)) == str((root / "models" / "good").resolve())
    assert policy.location("org/model") == "org/model"
    alias.unlink()
    alias.symlink_to(root / "private")
    with pytest.raises(EngineError) as raised:
        policy.location(str(alias))
    assert raised.value.error_code == "REFUSED_BY_HOST"
