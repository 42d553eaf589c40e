"""What the host's owner allows: images, models, paths, variables."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.api.messages import FromHost, Image
from muster_agent.backends.mounts import AllowedMount
from muster_agent.backends.policy import CONTAINER_HUB_CACHE, TESTED_IMAGE, HostPolicy, named, refusal
from muster_agent.engines.base import EngineError
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


OUTSIDE: list[dict[str, Any]] = [
    {"tokenizer": "/etc"},
    {"speculative_config": {"model": "/etc"}},
    {"speculative-config.model": "/etc"},
    {"lora_modules": ["/etc"]},
    {"lora_modules": ["a=ROOT/models/good", "b=/etc"]},
    {"lora_modules": '[{"name": "a", "path": "/etc"}]'},
    {"chat_template": "ROOT/models/../../etc"},
    {"chat_template": "ROOT/models/escape/x"},
    {"chat-template": "file:///etc"},
    {"extra_args": ["--chat-template=/etc"]},
    {"extra_args": ["--lora-modules", "a=/etc"]},
]


def at(root: Path, value: Any) -> Any:
    return json.loads(json.dumps(value).replace("ROOT", str(root)))


@pytest.mark.parametrize("images", [True, False], ids=["container", "process"])
@pytest.mark.parametrize("config", OUTSIDE, ids=str)
def test_a_path_outside_the_models_is_refused_with_its_flag(root: Path, config: dict[str, Any], images: bool) -> None:
    command = deploy(config=at(root, config))
    for policy in (HostPolicy(model_root=root / "models"), DEFAULT, HostPolicy(allow_remote_code=True)):
        said = refusal(command, policy, images) or ""
        flag = next(iter(config)) if "extra_args" not in config else config["extra_args"][0].partition("=")[0]
        assert said.startswith("config.") and flag.partition(".")[0] in said and "--model-root" in said


@pytest.mark.parametrize("images", [True, False], ids=["container", "process"])
def test_a_path_below_the_models_is_allowed_anywhere(root: Path, images: bool) -> None:
    good = str(root / "models/good")
    config = {
        "tokenizer": good,
        "lora_modules": [f"a={good}", json.dumps({"name": "b", "path": good})],
        "speculative_config": {"model": good},
        "extra_args": ["--hf-config-path", good],
    }
    assert refusal(deploy(config=config), HostPolicy(model_root=root / "models"), images) is None


def test_what_every_image_has_is_no_path_of_the_host() -> None:
    config = {"chat_template": "/vllm-workspace/examples/tool.jinja", "tokenizer": f"{CONTAINER_HUB_CACHE}/models--a"}
    env = {"SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt", "HOME": "/tmp"}
    assert refusal(deploy(config=config, env=env), DEFAULT, uses_images=True) is None
    assert "chat_template" in (refusal(deploy(config=config), DEFAULT, uses_images=False) or "")


def test_a_variable_names_a_path_below_the_models_or_of_the_image(root: Path) -> None:
    policy = HostPolicy(model_root=root / "models", share_env=("SHARED",))
    for name in ("SSL_CERT_FILE", "TIKTOKEN_ENCODINGS_BASE"):
        said = refusal(deploy(env={name: "/elsewhere/x"}), policy, uses_images=True) or ""
        assert said.startswith(f"env.{name}: /elsewhere/x") and f"--share-env {name}" in said
        assert refusal(deploy(env={name: str(root / "models/good")}), policy, uses_images=True) is None
    assert refusal(deploy(env={"SHARED": "/elsewhere/x"}), policy, uses_images=True) is None


def test_a_process_gets_no_variables_that_choose_its_programs() -> None:
    for name in ("LD_PRELOAD", "PATH", "PYTHONPATH"):
        assert name in (refusal(deploy(env={name: "x"}), DEFAULT, uses_images=False) or "")


@pytest.mark.parametrize("images", [True, False], ids=["container", "process"])
@pytest.mark.parametrize(
    ("config", "env", "where"),
    [
        ({"download_dir": "/models"}, {}, "config.download_dir"),
        ({"download-dir": "weights"}, {}, "config.download-dir"),
        ({"extra_args": ["--download-dir=/models"]}, {}, "--download-dir"),
        ({"extra_args": ["--down", "x"]}, {}, "--down"),
        *(({}, {name: "/models"}, f"env.{name}") for name in ("HF_HOME", "HF_HUB_CACHE", "HF_CACHE")),
        *(({}, {name: "/models"}, f"env.{name}") for name in ("TRANSFORMERS_CACHE", "XDG_CACHE_HOME")),
    ],
)
def test_the_cache_of_weights_is_the_hosts_and_stays_where_it_is(
    config: dict[str, Any], env: dict[str, Any], where: str, images: bool
) -> None:
    said = refusal(deploy(config=config, env=env), DEFAULT, images) or ""
    assert where in said and "the host's cache of weights decides" in said and "HF_HOME" in said


# What a deployment asks of its container


@pytest.mark.parametrize(
    ("config", "setting", "policy"),
    [
        ({"container_entrypoint": ["x"]}, "--allow-entrypoint", HostPolicy(allow_entrypoint=True)),
        ({"container_network": "host"}, "--allow-host-network", HostPolicy(allow_host_network=True)),
    ],
)
def test_an_entry_point_and_the_hosts_network_are_as_the_owner_says(
    config: dict[str, Any], setting: str, policy: HostPolicy
) -> None:
    for other in (DEFAULT, HostPolicy(allow_remote_code=True)):
        said = refusal(deploy(config=config), other, uses_images=True) or ""
        assert said.startswith(f"config.{next(iter(config))}: ") and setting in said
    assert refusal(deploy(config=config), policy, uses_images=True) is None
    with pytest.raises(EngineError, match="runs models as processes") as raised:
        refusal(deploy(config=config), policy, uses_images=False)
    assert raised.value.error_code == "UNSUPPORTED_BY_ENGINE"


@pytest.mark.parametrize(
    ("mount", "refused"),
    [
        ("ROOT/private:/x", None),
        ("ROOT/private:/x:ro", None),
        ("ROOT/private/deeper:/x", None),
        ("ROOT/models/good:/x:ro", None),
        ("ROOT/models/escape:/x", None),  # a link to what is allowed, too
        ("ROOT/models/good:/x", "add :ro"),
        ("ROOT/read:/x:ro", None),
        ("ROOT/read:/x", "add :ro"),
        ("ROOT:/x:ro", "--allow-mount"),
        ("ROOT/private/../other:/x:ro", "--allow-mount"),
        ("ROOT/private/out:/x:ro", "--allow-mount"),
        ("/etc:/x:ro", "--allow-mount"),
        ("/var/run/docker.sock:/x", "--allow-mount"),
        ("ROOT/private:/usr/lib/python3", "--allow-remote-code"),
        ("ROOT/private:/root/.cache/vllm", None),
    ],
)
def test_a_mount_is_of_a_folder_that_the_owner_allows_and_as_the_owner_allows_it(
    root: Path, mount: str, refused: str | None
) -> None:
    (root / "read").mkdir()
    (root / "private/out").symlink_to("/etc")
    policy = HostPolicy(
        model_root=root / "models",
        allow_mounts=(AllowedMount(root / "private", False), AllowedMount(root / "read", True)),
    )
    said = refusal(deploy(config=at(root, {"container_mounts": [mount]})), policy, uses_images=True)
    assert (said is None) is (refused is None), said
    assert refused is None or ((said or "").startswith("config.container_mounts[0]: ") and refused in (said or ""))


def test_paths_in_what_is_mounted_are_the_containers(root: Path) -> None:
    policy = HostPolicy(allow_mounts=(AllowedMount(root / "private", True),))
    mounts = [f"{root}/private:/templates:ro"]
    config = {"container_mounts": mounts, "chat_template": "/templates/x.jinja"}
    assert refusal(deploy("/templates/model", config=config), policy, uses_images=True) is None
    assert policy.location("/templates/model", ("/templates",)) == "/templates/model"
    for path in ("/templates/../etc/x", "/templates2/x"):
        assert path in (refusal(deploy(config={**config, "chat_template": path}), policy, uses_images=True) or "")
        assert path in (refusal(deploy(path, config={"container_mounts": mounts}), policy, uses_images=True) or "")


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
