"""What the host's owner allows: images, models, paths, variables."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.policy import TESTED_IMAGE, HostPolicy, refusal
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
