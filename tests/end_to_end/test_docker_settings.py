"""Files, mounts, entry points, and networks that deployments ask for: a real agent on a real Docker engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from infra.fake_vllm_image import ENTRYPOINT
from tests.fixtures.docker_agent import IMAGE, MODEL, DockerHost, answers, docker_host, nothing_is_left, only
from tests.fixtures.docker_daemon import OwnDaemon
from tests.fixtures.hub_server import HubServer
from tests.fixtures.muster_process import bare_environment, run
from tests.fixtures.serve import ADMIN_KEY, Serve

pytestmark = pytest.mark.docker


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """`data` with an adapter and a template, `kept`, and `private`."""
    for each in ("data/lora/sql", "kept", "private"):
        (tmp_path / each).mkdir(parents=True)
    (tmp_path / "data/tools.jinja").write_text("{{ messages }}")
    return tmp_path


def mounted(container: Container) -> dict[str, tuple[str, bool]]:
    """Source, and whether it can be written, by target; without the cache of weights."""
    mounts = container.attrs["Mounts"]
    found = {each["Destination"]: (each["Source"], each["RW"]) for each in mounts}
    return {target: each for target, each in found.items() if "huggingface" not in target}


def test_files_of_the_host_work_with_a_model_of_the_hub(
    folders: Path, serve: Serve, daemon: OwnDaemon, hub: HubServer
) -> None:
    data = folders / "data"
    with docker_host(folders, serve, daemon, hub, MUSTER_MODEL_ROOT=str(data)) as host:
        config: dict[str, Any] = {
            "enable_lora": True,
            "lora_modules": [f"sql={data}/lora/sql"],
            "chat_template": f"{data}/tools.jinja",
        }
        deployment_id = host.deploy(config=config)
        assert answers(host.operator.reach(deployment_id, "running"))
        assert mounted(only(daemon)) == {str(data): (str(data), False)}
        code, template = only(daemon).exec_run([*ENTRYPOINT[:1], "-c", f"print(open('{data}/tools.jinja').read())"])
        assert (code, template) == (0, b"{{ messages }}\n")
        host.end(deployment_id)
        refused: list[tuple[dict[str, Any], str]] = [
            (
                {"chat_template": f"{folders}/private/x"},
                f"config.chat_template: {folders}/private/x is not below {data}",
            ),
            ({"lora_modules": ["a=/elsewhere"]}, "config.lora_modules[0]: /elsewhere is not below"),
            ({"extra_args": ["--tokenizer", "/elsewhere"]}, "--tokenizer"),
        ]
        for config, said in refused:
            is_refused(host, "REFUSED_BY_HOST", said, config)
        is_refused(host, "INVALID_CONFIG", "there is no", {"chat_template": f"{data}/absent.jinja"})
        nothing_is_left(daemon)


def test_mounts_entry_point_and_network_are_had_where_the_owner_allows_them(
    folders: Path, serve: Serve, daemon: OwnDaemon, hub: HubServer
) -> None:
    settings = {
        "MUSTER_ALLOW_MOUNT": f"{folders}/data:ro {folders}/kept",
        "MUSTER_ALLOW_ENTRYPOINT": "1",
        "MUSTER_ALLOW_HOST_NETWORK": "1",
    }
    config = {
        "container_mounts": [f"{folders}/data:/templates:ro", f"{folders}/kept:/kept"],
        "container_entrypoint": [*ENTRYPOINT, "--seed", "3"],
        "container_network": "host",
        "chat_template": "/templates/tools.jinja",
    }
    with docker_host(folders, serve, daemon, hub, **settings) as host:
        deployment_id = host.deploy(config=config)
        assert answers(host.operator.reach(deployment_id, "running"))
        container = only(daemon)
        assert mounted(container) == {"/templates": (f"{folders}/data", False), "/kept": (f"{folders}/kept", True)}
        assert container.attrs["HostConfig"]["NetworkMode"] == "host"
        assert container.attrs["Config"]["Entrypoint"] == [*ENTRYPOINT, "--seed", "3"]
        assert not any("container" in each for each in container.attrs["Config"]["Cmd"])
        host.end(deployment_id)
        is_refused(host, "REFUSED_BY_HOST", "add :ro", {"container_mounts": [f"{folders}/data:/x"]})
        is_refused(host, "REFUSED_BY_HOST", "--allow-mount", {"container_mounts": [f"{folders}/private:/x:ro"]})
        nothing_is_left(daemon)


def test_nothing_of_it_is_had_where_the_owner_says_nothing(
    folders: Path, serve: Serve, daemon: OwnDaemon, hub: HubServer
) -> None:
    with docker_host(folders, serve, daemon, hub) as host:
        is_refused(host, "REFUSED_BY_HOST", "--allow-mount", {"container_mounts": [f"{folders}/kept:/kept:ro"]})
        is_refused(host, "REFUSED_BY_HOST", "--allow-entrypoint", {"container_entrypoint": "sh"})
        is_refused(host, "REFUSED_BY_HOST", "--allow-host-network", {"container_network": "host"})
        is_refused(host, "INVALID_CONFIG", "one deployment is one container", {"nnodes": 2, "headless": True})
        is_refused(host, "INVALID_CONFIG", "put TLS before", {"ssl_keyfile": "/certs/key.pem"})
        is_refused(host, "REFUSED_BY_HOST", "the host's cache of weights", {"download_dir": "/models"})
        nothing_is_left(daemon)


def test_flags_as_people_write_them_on_the_command_line(
    folders: Path, serve: Serve, daemon: OwnDaemon, hub: HubServer
) -> None:
    data = folders / "data"
    environment = bare_environment(folders, MUSTER_URL=serve.url, MUSTER_API_KEY=ADMIN_KEY)
    with docker_host(folders, serve, daemon, hub, MUSTER_MODEL_ROOT=str(data)) as host:
        deploy = ("deploy", MODEL, "--image", IMAGE, "--gpus", "0", "--on", host.name, "--wait")
        modules = json.dumps([f"sql={data}/lora/sql", f"chat={data}/lora/sql"])
        flags = ("--enable-lora=True", f"--lora-modules={modules}", f"chat-template={data}/tools.jinja")
        done = run(environment, *deploy, "--name", "files", *(word for each in flags for word in ("--set", each)))
        assert done.returncode == 0, done.stderr
        command = only(daemon).attrs["Config"]["Cmd"]
        given = ["--lora-modules", f"sql={data}/lora/sql", f"chat={data}/lora/sql"]
        assert given == command[command.index(given[0]) :][:3] and "--enable-lora" in command
        assert run(environment, "stop", "files", "--wait").returncode == 0
        for flag, said in (
            ("--chat-template=/elsewhere/t.jinja", f"config.chat_template: /elsewhere/t.jinja is not below {data}"),
            ("--ssl-keyfile=/certs/key.pem", "put TLS before"),
            ("--nnodes=2", "one deployment is one container"),
            ("--download-dir=/models", "the host's cache of weights decides"),
            ("--api-key=tipray.123", "to keep a key of your own, set env VLLM_API_KEY"),
            ("container-network=host", "--allow-host-network"),
        ):
            done = run(environment, *deploy, "--set", flag)
            assert done.returncode != 0 and said in " ".join((done.stdout + done.stderr).split()), done
        assert host.process.poll() is None


def is_refused(host: DockerHost, code: str, said: str, config: dict[str, Any]) -> None:
    seen = host.operator.reach(host.deploy(config=config), "error")
    assert seen["error_code"] == code and said in seen["message"], seen["message"]
