"""A control plane in an attacker's hand, and the real agent: what it may order, and what the host's owner has refused.

Each order is answered with an error, starts nothing, and leaves the agent doing what it did before.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.security.hostile_host import INVALID, MISSING, REFUSED, SECRETS, TAKE, is_refused, world_of

# What a container may be


IMAGES = [
    (REFUSED, "evil/image:latest"),
    (REFUSED, "evil.example/vllm/vllm-openai"),
    (REFUSED, "vllm/vllm-openai/../../evil"),
    (REFUSED, "docker.io/docker.io/vllm/vllm-openai"),
    (REFUSED, "VLLM/vllm-openai"),
    (REFUSED, "--privileged"),
    (REFUSED, "../../x"),
    (REFUSED, "sha256:" + "0" * 64),
    (REFUSED, "vllm/vllm-openai\n"),
    (REFUSED, "vllm%2fvllm-openai"),
    (MISSING, "vllm/vllm-openai:v1;reboot"),
    (MISSING, "vllm/vllm-openai:$(reboot)"),
    (MISSING, "vllm/vllm-openai@evil.example/x"),
]


@pytest.mark.parametrize(("code", "image"), IMAGES)
def test_an_image_that_the_owner_does_not_allow_is_refused(tmp_path: Path, code: str, image: str) -> None:
    is_refused(world_of(tmp_path), code, image=image)


MODELS = [
    *("/", "/etc/passwd", "../../etc", "~/.ssh", "file:///etc/passwd", "./x", "x/../../etc", "/opt/../etc"),
    *("--privileged", "-v", "a;reboot", "$(reboot)", "`reboot`", "a b", "a\n--host=0.0.0.0", "\u202egpj", "a\0b", ""),
    *("http://evil.example/x", "s3://-x", "org/model/more", "org%2f..%2fx", "\x1b[2J", "x" * 300 + "/" + "\u00e9"),
]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("processes", [False, True], ids=["container", "process"])
def test_a_model_that_is_more_than_a_name_is_refused(tmp_path: Path, model: str, processes: bool) -> None:
    is_refused(world_of(tmp_path, processes=processes), REFUSED, model=model)


ENVIRONMENTS: list[tuple[str, dict[str, Any]]] = [
    *((REFUSED, {name: TAKE}) for name in ("AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK", "PATH", "MUSTER_TOKEN", "ABSENT")),
    *((REFUSED, {name: "x"}) for name in ("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT")),
    *((REFUSED, {f"NVIDIA_{name}": "enabled"}) for name in ("GDS", "MOFED", "DRIVER_CAPABILITIES", "IMEX_CHANNELS")),
    *((INVALID, {name: "all"}) for name in ("NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "MUSTER_URL")),
    (REFUSED, {"HF_ENDPOINT": "https://evil.example", "HF_TOKEN": TAKE}),
    ("UNSUPPORTED_COMMAND", {"A": "\0"}),
]


@pytest.mark.parametrize(("code", "env"), ENVIRONMENTS)
@pytest.mark.parametrize("processes", [False, True], ids=["container", "process"])
def test_a_variable_that_changes_how_the_host_runs_it_is_refused(
    tmp_path: Path, code: str, env: dict[str, Any], processes: bool
) -> None:
    is_refused(world_of(tmp_path, processes=processes), code, env=env)


CONFIGS: list[dict[str, Any]] = [
    {"model": "/etc"},
    {"host": "0.0.0.0"},
    {"ho": "0.0.0.0"},
    {"api_key": "known"},
    {"uds": "/run/docker.sock"},
    {"config": "/etc/passwd"},
    {"x; reboot": 1},
    {"--privileged": True},
    {"a\n": 1},
    {"max_model_len": ["-v", "/:/host"]},
    {"served_model_name": "a\0b"},
    {"extra_args": ["--host=0.0.0.0"]},
    {"extra_args": ["--mode", "/etc"]},
    {"extra_args": ["--"]},
    {"extra_args": ["sh", "-c", "reboot"]},
    {"extra_args": "--privileged"},
    {"port": "8000; reboot"},
    {"port": -1},
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_configuration_that_takes_what_the_agent_sets_is_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    is_refused(world_of(tmp_path), INVALID, config=config)


IDS = ["../../etc", "a/b", "a b", "-x", "$(id)", "a\n", "\u00fc", ".hidden", "a\0", "%2e%2e", "-", "x/"]


@pytest.mark.parametrize("deployment_id", IDS)
def test_an_id_that_is_no_name_for_a_folder_is_refused(tmp_path: Path, deployment_id: str) -> None:
    is_refused(world_of(tmp_path), INVALID, deployment_id=deployment_id)


CONTAINERS: list[dict[str, Any]] = [
    {"container_mounts": ["/:/host:ro"]},
    {"container_mounts": ["/var/run/docker.sock:/var/run/docker.sock"]},
    {"container-mounts": "/etc:/data:ro"},
    {"container_entrypoint": ["/bin/sh", "-c", "id"]},
    {"container-entrypoint": "sh -c id"},
    {"container_network": "host"},
    {"chat_template": "/etc/shadow"},
    {"extra_args": ["--chat-template=file:///etc/shadow"]},
    {"allowed_local_media_path": "/"},
    {"lora_modules": '[{"name": "a", "path": "/\\ud800"}]'},
]


@pytest.mark.parametrize("config", CONTAINERS, ids=str)
def test_a_container_gets_nothing_of_the_host_that_its_owner_does_not_allow(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    is_refused(world_of(tmp_path, allow_remote_code=True, model_root=tmp_path), REFUSED, config=config)


@pytest.mark.parametrize("network", ["none", "container:x", "default", True, 1])
def test_no_other_network_can_be_asked_for(tmp_path: Path, network: Any) -> None:
    world = world_of(tmp_path, allow_host_network=True)
    is_refused(world, INVALID, config={"container_network": network})


# What a process may be, which no container holds


PROCESSES: list[dict[str, Any]] = [
    *({"env": {name: "x"}} for name in ("PATH", "PYTHONPATH", "PYTHONSTARTUP", "BASH_ENV", "CC", "VLLM_PLUGINS")),
    *({"env": {name: "1"}} for name in ("VLLM_SERVER_DEV_MODE", "VLLM_ALLOW_INSECURE_SERIALIZATION")),
    {"env": {"VLLM_CACHE_ROOT": "/etc"}},
    {"env": {"HF_HOME": "/etc/ssh"}},
    {"env": {"HOME": "../../etc"}},
    {"config": {"trust_remote_code": True}},
    {"config": {"extra_args": ["--trust-remote-code"]}},
    {"config": {"extra_args": ["--enforce-eager", "--trust_remote"]}},
    {"config": {"middleware": "os.system"}},
    {"config": {"worker_cls": "evil.Worker"}},
    {"config": {"chat_template": "/etc/shadow"}},
    {"config": {"chat_template": "file:///etc/shadow"}},
    {"config": {"download_dir": "../../etc"}},
    {"config": {"lora_modules": ["a=/etc"]}},
    {"config": {"speculative_config": {"model": "/etc/model"}}},
    {"config": {"speculative_config": '{"model": "/etc/model"}'}},
    {"config": {"extra_args": ["--chat-template", "/etc/shadow"]}},
    {"config": {"extra_args": ["--chat-template=/etc/shadow"]}},
    {"config": {"extra_args": ["--lora-modules=a=/etc"]}},
    {"config": {"extra_args": ['--hf-overrides={"x": ["~/.ssh"]}']}},
    {"config": {"allowed_local_media_path": "/"}},
]


@pytest.mark.parametrize("order", PROCESSES, ids=str)
def test_a_process_is_refused_what_only_a_container_would_hold(tmp_path: Path, order: dict[str, Any]) -> None:
    is_refused(world_of(tmp_path, processes=True), REFUSED, **order)


HARMLESS: list[dict[str, Any]] = [
    {"config": {"trust_remote_code": False}},
    {"config": {"chat_template": "{% for m in messages %}{{ m['content'].strip() / 2 }}</s>{% endfor %}"}},
    {"config": {"hf_overrides": {"rope_theta": 1e6}, "served_model_name": "a/b"}},
    {"env": {"HF_ENDPOINT": "https://mirror.example/hf", "VLLM_LOGGING_LEVEL": "DEBUG", "NVIDIA_TF32_OVERRIDE": "0"}},
]


@pytest.mark.parametrize("order", HARMLESS, ids=str)
@pytest.mark.parametrize("processes", [False, True], ids=["container", "process"])
def test_what_models_need_is_not_refused(tmp_path: Path, order: dict[str, Any], processes: bool) -> None:
    world = world_of(tmp_path, processes=processes)
    world.probe.ready.add("a/b")
    world.deploy(**order)
    world.settle()
    assert world.statuses()[-1] == "running"


def test_the_owner_may_allow_code_of_models_and_share_variables(tmp_path: Path) -> None:
    shared = ("AWS_SECRET_ACCESS_KEY",)
    world = world_of(tmp_path, processes=True, allow_remote_code=True, share_env=shared)
    world.deploy(config={"trust_remote_code": True}, env={"AWS_SECRET_ACCESS_KEY": TAKE})
    world.settle()
    assert "--trust-remote-code" in world.engine.specs[0].arguments
    assert world.engine.specs[0].env["AWS_SECRET_ACCESS_KEY"] == SECRETS["AWS_SECRET_ACCESS_KEY"]


# Where the host's token goes


@pytest.mark.parametrize("processes", [False, True], ids=["container", "process"])
def test_the_hosts_token_does_not_go_to_another_hub(tmp_path: Path, processes: bool) -> None:
    world = world_of(tmp_path, processes=processes)
    (tmp_path / "token").write_text("hf_of_hf_auth_login")
    world.deploy(env={"HF_ENDPOINT": "https://evil.example"})
    world.settle()
    assert [(each.endpoint, each.token) for each in world.hub.asked] == [("https://evil.example", None)]
    env = world.engine.specs[0].env
    assert (env["HF_TOKEN"], env["HUGGING_FACE_HUB_TOKEN"], env["HF_TOKEN_PATH"]) == ("", "", os.devnull)


def test_a_token_of_the_deployments_own_goes_where_the_deployment_says(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    world.deploy(env={"HF_ENDPOINT": "https://mirror.example", "HF_TOKEN": "hf_of_the_deployment"})
    world.settle()
    assert [each.token for each in world.hub.asked] == ["hf_of_the_deployment"]
    assert world.engine.specs[0].env["HF_TOKEN"] == "hf_of_the_deployment"


def test_the_hosts_own_hub_gets_the_hosts_token(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    world.deploy(env={"HF_ENDPOINT": "https://huggingface.co/"})
    world.settle()
    assert world.engine.specs[0].env["HF_TOKEN"] == SECRETS["HF_TOKEN"]
