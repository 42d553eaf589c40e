"""A control plane in an attacker's hand, and the real agent: what it may order, and what the host's owner has refused.

Each order is answered with an error, starts nothing, and leaves the agent doing what it did before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from agent.engines import Instance
from agent.intake import MOST
from agent.policy import TESTED_IMAGE, HostPolicy
from chalicelib.contract.messages import Image
from tests.agent.world import GIB, World

SECRETS = {"AWS_SECRET_ACCESS_KEY": "aws-secret-of-the-host", "HF_TOKEN": "hf_of_the_host", "SSH_AUTH_SOCK": "/s"}
REFUSED, INVALID, MISSING = "REFUSED_BY_HOST", "INVALID_CONFIG", "IMAGE_NOT_FOUND"
TAKE = {"from_host": True}


def world_of(folder: Path, *, processes: bool = False, **policy: Any) -> World:
    world = World(folder)
    world.host_env = dict(SECRETS)
    world.engine.uses_images = not processes
    world.policy = HostPolicy(hub_cache=folder / "hub", **policy)
    world.boot().beat()
    return world


def is_refused(world: World, code: str, **order: Any) -> None:
    """And nothing was started or said that the host keeps to itself; what follows is done as ever."""
    world.deploy(**order)
    world.settle()
    report = world.last_report(quote(order.get("deployment_id", "d1"), safe=""))
    assert (report.status, report.error_code) == ("error", code), report
    assert world.engine.specs == []
    told = msgspec.json.encode([each for _, each in world.server.reports]).decode()
    assert not any(secret in told for secret in SECRETS.values() if len(secret) > 8)
    goes_on(world)


def goes_on(world: World) -> None:
    world.deploy(deployment_id="good")
    world.settle()
    assert world.statuses("good")[-1] == "running"


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
def test_images(tmp_path: Path, code: str, image: str) -> None:
    is_refused(world_of(tmp_path), code, image=image)


MODELS = [
    *("/", "/etc/passwd", "../../etc", "~/.ssh", "file:///etc/passwd", "./x", "x/../../etc", "/opt/../etc"),
    *("--privileged", "-v", "a;reboot", "$(reboot)", "`reboot`", "a b", "a\n--host=0.0.0.0", "\u202egpj", "a\0b", ""),
    *("http://evil.example/x", "s3://-x", "org/model/more", "org%2f..%2fx", "\x1b[2J", "x" * 300 + "/" + "\u00e9"),
]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("processes", [False, True], ids=["container", "process"])
def test_models(tmp_path: Path, model: str, processes: bool) -> None:
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
def test_variables(tmp_path: Path, code: str, env: dict[str, Any], processes: bool) -> None:
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
def test_configurations(tmp_path: Path, config: dict[str, Any]) -> None:
    is_refused(world_of(tmp_path), INVALID, config=config)


IDS = ["../../etc", "a/b", "a b", "-x", "$(id)", "a\n", "\u00fc", ".hidden", "a\0", "%2e%2e", "-", "x/"]


@pytest.mark.parametrize("deployment_id", IDS)
def test_ids_that_become_names_and_folders(tmp_path: Path, deployment_id: str) -> None:
    is_refused(world_of(tmp_path), INVALID, deployment_id=deployment_id)


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
def test_processes(tmp_path: Path, order: dict[str, Any]) -> None:
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


# Files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The owner's weights, beside what is none of them."""
    (tmp_path / "weights" / "llama").mkdir(parents=True)
    (tmp_path / "private").mkdir()
    (tmp_path / "weights" / "link").symlink_to(tmp_path / "private")
    (tmp_path / "weights-of-others").mkdir()
    return tmp_path / "weights"


@pytest.mark.parametrize("processes", [False, True], ids=["container", "process"])
@pytest.mark.parametrize("path", ["link", "../private", "llama/../../private", "../weights-of-others", "//../private"])
def test_paths_that_leave_the_owners_folder(tmp_path: Path, root: Path, path: str, processes: bool) -> None:
    is_refused(world_of(tmp_path / "w", processes=processes, model_root=root), REFUSED, model=f"{root}/{path}")


class Turning(World):
    """A host where somebody turns a link as soon as it was looked at."""

    def turn(self) -> None: ...

    @property
    def free_disk(self) -> int:
        """What is asked last before a start."""
        self.turn()
        return 1000 * GIB

    @free_disk.setter
    def free_disk(self, value: int) -> None: ...


@pytest.mark.parametrize("processes", [False, True], ids=["container", "process"])
def test_a_link_that_is_turned_between_check_and_start(tmp_path: Path, root: Path, processes: bool) -> None:
    (root / "turned").symlink_to(root / "llama")

    def turn() -> None:
        (root / "turned").unlink()
        (root / "turned").symlink_to(tmp_path / "private")

    world = Turning(tmp_path / "w")
    world.engine.uses_images = not processes
    world.policy = HostPolicy(hub_cache=tmp_path / "hub", model_root=root)
    world.boot().beat()
    world.turn = turn  # type: ignore[method-assign]  # from here on
    is_refused(world, REFUSED, model=f"{root}/turned")


MODEL_NAMES = ["..", "../..", "../../private", "org/../../private", ".locks", "/etc", "models--org--model", "evil/link"]


@pytest.mark.parametrize("model", MODEL_NAMES)
def test_weights_are_deleted_by_name_and_never_by_path(tmp_path: Path, root: Path, model: str) -> None:
    world = world_of(tmp_path)
    blobs = tmp_path / "hub" / "models--org--model" / "blobs"
    blobs.mkdir(parents=True)
    (tmp_path / "hub" / "models--evil--link").symlink_to(tmp_path / "private")
    before = sorted(tmp_path.rglob("*"))
    assert world.ask("delete_model", model=model)["error_code"] == "MODEL_NOT_FOUND"
    assert {each for each in before if "state" not in each.parts} <= set(tmp_path.rglob("*"))


def test_names_that_models_gave_to_folders_of_the_cache(tmp_path: Path) -> None:
    """A container writes into the cache, and may be anybody's code."""
    world = world_of(tmp_path)
    for name in (b"models--org--ok", b"models--\x1b[2J", b"models--a\nb", b"models--\xff\xfe", b"models--\xe2\x80\xae"):
        os.makedirs(os.path.join(os.fsencode(tmp_path / "hub"), name))
    assert world.ask("list_models")["output"] == {"models": [{"model": "org/ok", "size": 0}]}


# What others run


@pytest.fixture
def others(tmp_path: Path) -> Iterator[World]:
    world = world_of(tmp_path)
    world.engine.add(Instance(id="abc123", name="postgres", image="postgres:16", state="running"))
    foreign = Instance(id="def456", name="muster-x-g1", image=TESTED_IMAGE, state="running")
    world.engine.add(with_foreign_labels(foreign))
    yield world
    assert all(each.state == "running" for each in world.engine.all.values())
    assert not any(call.startswith("stop") for call in world.engine.calls)


def with_foreign_labels(instance: Instance) -> Instance:
    from dataclasses import replace

    return replace(instance, worker_id="w2", deployment_id="x", generation=1)


@pytest.mark.parametrize("key", ["abc123", "abc", "postgres", "def456", "muster-x-g1", "d"])
@pytest.mark.parametrize("type", ["stop_container", "container_logs"])
def test_containers_of_others(others: World, type: str, key: str) -> None:
    assert others.ask(type, container_id=key)["error_code"] == "NOT_OURS"


@pytest.mark.parametrize("key", ["x", "", "../abc123", "%2e%2e/json", "abc123\n", "abc123?force=1", "\0"])
@pytest.mark.parametrize("type", ["stop_container", "container_logs"])
def test_container_ids_that_are_none(others: World, type: str, key: str) -> None:
    assert others.ask(type, container_id=key)["error_code"] == "CONTAINER_NOT_FOUND"


def test_a_stop_of_a_deployment_that_another_worker_runs(others: World) -> None:
    others.stop(deployment_id="x", generation=9)
    others.settle()


MINE = Image("sha256:aaaa1111", ["app:1", "registry.example/app:1"], 1, "2024-01-01T00:00:00Z")
OFFERED = Image("sha256:bbbb2222", ["vllm/vllm-openai:v0.6"], 1, "2024-01-01T00:00:00Z")


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", ["app:1", "docker.io/library/app:1", "sha256:aaaa1111", "aaaa", "sha256:a", "sha256:"])
def test_images_of_others_are_not_deleted(tmp_path: Path, name: str, force: bool) -> None:
    world = world_of(tmp_path)
    world.engine.pulled["app:1"] = MINE
    assert world.ask("delete_image", image_id=name, force=force)["error_code"] == REFUSED
    assert "app:1" in world.engine.pulled


@pytest.mark.parametrize("name", ["../../containers/abc123", "app:1?force=1", "app%3A1", "--force", "*", ""])
def test_image_names_that_are_none(tmp_path: Path, name: str) -> None:
    world = world_of(tmp_path)
    world.engine.pulled["app:1"] = MINE
    assert world.ask("delete_image", image_id=name)["error_code"] in (REFUSED, MISSING)
    assert "app:1" in world.engine.pulled


def test_images_that_may_run_here_and_those_that_were_pulled_for_muster_are_deleted(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    world.engine.available.add("any/other:1")
    world.engine.pulled["vllm/vllm-openai:v0.6"] = OFFERED
    world.ask("pull_image", command_id="o1", image="any/other:1")
    assert world.ask("delete_image", command_id="o2", image_id="any/other:1")["status"] == "succeeded"
    assert world.ask("delete_image", command_id="o3", image_id=OFFERED.id)["status"] == "succeeded"


# Answers


def answer(**fields: Any) -> tuple[int, bytes, dict[str, str]]:
    return 200, msgspec.json.encode({"commands": [], "inbox": 1, "next_heartbeat_in": 5} | fields), {}


def raw(text: str) -> tuple[int, bytes, dict[str, str]]:
    return 200, text.encode(), {}


DEEP = "[" * 50_000 + "]" * 50_000
NESTED = '{"a":' * 700 + "1" + "}" * 700
DEPLOY = '{"type":"deploy","command_id":"c","deployment_id":"d9","generation":1,"backend":"vllm","model":"org/model",'
STOP = {"type": "stop", "command_id": "c", "deployment_id": "d", "generation": 1}
LIST = {"type": "list_images", "command_id": "c", "expires_in": 60}
LOGS = {"type": "container_logs", "command_id": "c", "expires_in": 9, "container_id": "x"}
ANSWERS = {
    "html": raw("<html>"),
    "empty": raw(""),
    "null": raw("null"),
    "nan": raw('{"commands":[],"inbox":1,"next_heartbeat_in":NaN}'),
    "deep": raw(DEEP),
    "deep commands": raw(f'{{"commands":{DEEP},"inbox":1,"next_heartbeat_in":1}}'),
    "a deep config": raw(f'{{"commands":[{DEPLOY}"config":{{"x":{DEEP}}}}}],"inbox":1,"next_heartbeat_in":1}}'),
    "as deep as is read": raw(f'{{"commands":[{DEPLOY}"config":{NESTED}}}],"inbox":1,"next_heartbeat_in":1}}'),
    "a huge number": raw(f'{{"commands":[{DEPLOY}"config":{{"x":{"9" * 5000}}}}}],"inbox":1,"next_heartbeat_in":1}}'),
    "a huge generation": answer(commands=[STOP | {"generation": 2**64 - 1}]),
    "a generation below zero": answer(commands=[STOP | {"generation": -1}]),
    "no type": answer(commands=[{}]),
    "no commands": answer(commands=[1, None, "x", [], {"type": "reboot", "command_id": "c"}]),
    "another type": answer(commands=[{"type": "exec", "command_id": "c", "command": "reboot"}]),
    "a huge inbox": raw('{"commands":[],"inbox":1e400,"next_heartbeat_in":1}'),
    "surrogates": raw('{"commands":[{"type":"\\ud800","command_id":"\\udfff"}],"inbox":1,"next_heartbeat_in":1}'),
    "a megabyte of id": answer(commands=[LIST | {"command_id": "i" * 2**20}]),
    "a megabyte of deployment": answer(commands=[STOP | {"deployment_id": "i" * 2**20}]),
    "no id": answer(commands=[LIST | {"command_id": ""}, STOP | {"deployment_id": ""}]),
    "expired for ever": answer(commands=[LIST | {"expires_in": -1e308}]),
    "valid for ever": answer(commands=[LIST | {"expires_in": 1e308}]),
    "many lines": answer(commands=[LOGS | {"lines": 2**60}]),
    "lines below zero": answer(commands=[LOGS | {"lines": -5}]),
    "twice the same": answer(commands=[LIST, LIST]),
}


@pytest.mark.parametrize("said", ANSWERS.values(), ids=ANSWERS)
def test_answers_that_are_none(tmp_path: Path, said: tuple[int, bytes, dict[str, str]]) -> None:
    world = world_of(tmp_path)
    world.server.failures.append(said)
    assert 1 <= world.beat() <= 60
    world.crew.operations.run_all()
    world.settle()
    goes_on(world)


@pytest.mark.parametrize("seconds", ["0", "-1", "1e308", "1e999", "-1e999", "NaN", "null", '"soon"', "1e-320"])
def test_the_next_heartbeat_is_neither_at_once_nor_never(tmp_path: Path, seconds: str) -> None:
    world = world_of(tmp_path)
    world.server.failures.append(raw(f'{{"commands":[],"inbox":1,"next_heartbeat_in":{seconds}}}'))
    assert 1 <= world.beat() <= 3600
    goes_on(world)


@pytest.mark.parametrize("after", ["99999999999999999999", "-5", "1e9", "NaN", "\u0663", "0"])
def test_retry_after_is_neither_at_once_nor_never(tmp_path: Path, after: str) -> None:
    world = world_of(tmp_path)
    world.server.failures.append((503, b'{"error_code": "UNAVAILABLE", "message": "x"}', {"Retry-After": after}))
    assert 0 < world.beat() <= 700
    goes_on(world)


def test_a_crowd_of_commands_is_taken_a_thousand_at_a_time(tmp_path: Path, thorough: bool) -> None:
    world = world_of(tmp_path)
    crowd = [
        {"type": "list_images", "command_id": f"c{number}", "expires_in": 60}
        for number in range(100_000 if thorough else 5000)
    ]
    world.server.failures.append(answer(commands=crowd, inbox=77))
    world.beat()
    world.beat()
    beat = world.server.beats[-1]
    assert len(beat.acks) == MOST
    assert beat.inbox != 77, "so that the rest is sent again"
    world.crew.operations.run_all()
    for _ in range(MOST // 50 + 1):
        world.deliver()
    goes_on(world)


def test_a_registration_that_is_none(tmp_path: Path) -> None:
    world = World(tmp_path).boot()
    for said in ("{}", "null", DEEP, '{"worker_id": 1}', '{"worker_id": "x"}'):
        world.server.failures.append(raw(said))
        assert 1 <= world.beat() <= 60
    world.beat()
    goes_on(world)


@pytest.mark.parametrize("worker_id", ["../../admin", "a b", "\n", "?x=", "x" * 9000])
def test_a_worker_id_stays_one_segment_of_the_path(tmp_path: Path, worker_id: str) -> None:
    world = World(tmp_path).boot()
    world.server.worker_id = worker_id
    world.beat()
    asked = world.server.requests[-1]
    assert asked.startswith("/api/workers/") and asked.endswith("/heartbeat") and asked.count("/") == 4
    assert not set(asked) & set(" ?\n")
