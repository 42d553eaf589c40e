"""docs/server.md, followed: two containers, a host that joins them over TLS, kill -9, a backup put back."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import requests

from tests.fixtures import ROOT, dynoxide
from tests.fixtures.docker_engine import NAME, unavailable
from tests.fixtures.markdown import blocks
from tests.fixtures.ports import free_port
from tests.fixtures.waiting import PATIENCE, eventually
from tests.install.debian import Machine

pytestmark = pytest.mark.docker
WAIT = f" --wait --timeout {PATIENCE:.0f}s"

BASE, SERVER, PROXY, ENGINE = (f"muster-test/server-{part}:1" for part in ("base", "api", "proxy", "engine"))
GATEWAY = "embedded gateway"
"""The name of the key that the server makes for its own gateway."""
PATIENT = {"timeout": "60s", "start_period": "10m"}
"""Of the checks of the containers' health, in the place of the Dockerfile's: as long as a busy machine may need."""


def documented(comment: str) -> str:
    (block,) = [each for each in blocks("docs/server.md") if each.comment == comment]
    return block.text


def program(name: str) -> str:
    """Where it is. Skips the test where it is not, unless Docker is required."""
    return shutil.which(name) or unavailable(f"there is no {name} here: apt-get install {name}")


def compose() -> str:
    """What makes `docker compose` work in a shell: Debian has it as a program of its own."""
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
        return ""
    separate = shlex.quote(program("docker-compose"))
    return f'docker() {{ if [ "$1" = compose ]; then shift; {separate} "$@"; else command docker "$@"; fi; }}\n'


@pytest.fixture
def base(docker_engine: docker.DockerClient, debian_image: str, tmp_path: Path) -> str:
    """In the place of python:3.12-slim and caddy:2-alpine: a Debian with both."""
    folder = tmp_path / "base"
    folder.mkdir()
    shutil.copy(program("caddy"), folder)
    (folder / "Dockerfile").write_text(f"FROM {debian_image}\nCOPY caddy /usr/bin/caddy\n")
    docker_engine.images.build(path=str(folder), tag=BASE, rm=True, forcerm=True)
    return BASE


class Site:
    """A machine's owner, in a folder, with this test's names and ports."""

    def __init__(self, folder: Path, base: str) -> None:
        self.folder, self.prelude, https, self.key = folder, compose(), free_port(), ""
        self.url = f"https://localhost:{https}"
        build = {"network": "host", "args": {"PYTHON": base, "CADDY": base, "PLATFORMS": "--here"}}
        each = {"build": build, "healthcheck": PATIENT}
        services = {"server": {"image": SERVER, **each}, "proxy": {"image": PROXY, **each}}
        (folder / "ours.yaml").write_text(json.dumps({"services": services}))
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MUSTER_", "COMPOSE_"))}
        self.environment = inherited | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "XDG_CONFIG_HOME": str(folder),
            "COMPOSE_PROJECT_NAME": f"{NAME}-{https}",
            "COMPOSE_FILE": f"{ROOT / 'compose.yaml'}:{folder / 'ours.yaml'}",
            "MUSTER_DOMAIN": "localhost",
            "MUSTER_TLS": "tls internal",
            "MUSTER_LOCAL": "1",  # this test asks the models from the same machine
            "MUSTER_HEARTBEAT": "1",
            "MUSTER_HTTP_PORT": str(free_port()),
            "MUSTER_HTTPS_PORT": str(https),
        }

    def run(self, script: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        ours = script.replace("https://muster.example.com", self.url).replace("muster.example.com", "localhost")
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.prelude + ours],
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
        )

    def ok(self, script: str, stdin: str = "") -> str:
        done = self.run(script, stdin)
        assert done.returncode == 0, f"{script}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def json(self, line: str) -> Any:
        return json.loads(self.ok(f"{line} -o json"))

    def workers(self) -> list[Any]:
        """None while the control plane does not answer."""
        answer = requests.get(
            f"{self.url}/api/workers",
            headers={"Authorization": f"Bearer {self.key}"},
            verify=str(self.authority),
            timeout=PATIENCE,
        )
        return list(answer.json()["workers"]) if answer.status_code == 200 else []

    @property
    def authority(self) -> Path:
        return self.folder / "muster-root.crt"

    def trust(self) -> Path:
        """The authority, which Caddy makes when it starts."""
        eventually(
            lambda: self.run(documented("authority")).returncode, lambda code: code == 0, "there is an authority"
        )
        self.environment["REQUESTS_CA_BUNDLE"] = "muster-root.crt"
        return self.authority


@pytest.fixture
def site(base: str, tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path, base)
    try:
        yield site
    finally:
        site.ok("docker compose down --volumes --timeout 1")


def test_a_control_plane_on_one_machine(site: Site, machine: Machine) -> None:
    (shown,) = re.findall(r"Admin API key +(\S+)", site.ok(documented("up")))
    join(machine, site, site.trust(), shown)
    site.ok("muster deploy org/tiny --name tiny --gpus 0 --env HF_ENDPOINT=http://127.0.0.1:1" + WAIT)
    before = ask(site, "marmalade")
    (key,) = re.findall(r"^mst_key_\S+$", site.ok("muster keys create app --role caller"), re.M)
    eventually(lambda: through_the_gateway(site, key), lambda text: text == before, "the model at the site's address")
    assert requests.get(f"{site.url}/metrics", verify=str(site.authority), timeout=PATIENCE).status_code == 404

    site.ok("docker kill --signal KILL $(docker compose ps -q server)")
    site.ok("docker compose start server")
    goes_on(site)
    assert ask(site, "marmalade") == before, "the same process, under the same key"
    eventually(lambda: through_the_gateway(site, key), lambda text: text == before, "the tunnels to be back")

    site.ok(documented("backup"))
    site.ok("muster keys create late --role viewer")
    site.ok(documented("restore"))
    names = sorted(each["name"] for each in site.json("muster keys")["api_keys"])
    assert names == ["anna", "app", GATEWAY], "what there was, and no more"
    goes_on(site)
    assert ask(site, "marmalade") == before
    site.ok("muster stop tiny" + WAIT)
    assert machine.sh("pgrep -f '^/usr/bin/python3 /fake_vllm.py'")[1] == "", "the agent does what it is told"


def test_another_database_is_one_variable(site: Site, tmp_path: Path, debian_image: str) -> None:
    """A real engine as another service of the project. The server's volume has no database then."""
    with dynoxide.needed():
        shutil.copy(dynoxide.executable(), tmp_path / "dynoxide")
    (tmp_path / "Dockerfile").write_text(f"FROM {debian_image}\nCOPY dynoxide /usr/bin/\n")
    engine = {
        "image": ENGINE,
        "build": {"context": str(tmp_path), "network": "host"},
        "command": ["dynoxide", "--host", "0.0.0.0", "--port", "8000"],
    }
    (tmp_path / "engine.yaml").write_text(json.dumps({"services": {"dynamodb": engine}}))
    site.environment["COMPOSE_FILE"] += f":{tmp_path / 'engine.yaml'}"
    site.environment["AWS_ENDPOINT_URL_DYNAMODB"] = "http://dynamodb:8000"
    site.ok("docker compose up --build --detach dynamodb")
    (shown,) = re.findall(r"Admin API key +(\S+)", site.ok(documented("up")))
    site.trust()
    site.ok(f"echo {shown} | muster login https://muster.example.com")
    site.ok("docker kill --signal KILL $(docker compose ps -q server)")
    site.ok("docker compose start server")
    eventually(lambda: site.run("muster keys").returncode, lambda code: code == 0, "the server to answer")
    assert [key["name"] for key in site.json("muster keys")["api_keys"]] == ["local admin", GATEWAY]
    assert "muster.sqlite3" not in site.ok("docker compose exec -T server ls /var/lib/muster")


def join(machine: Machine, site: Site, authority: Path, key: str) -> None:
    """As the page goes on: the log's credentials are replaced, the host trusts and runs what `muster join` says."""
    for line in documented("replace").splitlines():
        (key,) = re.findall(r"^mst_key_\S+$", site.ok(line, stdin=f"{key}\n"), re.M) or [key]
    machine.is_up()
    machine.ok("""printf '#!/bin/sh\\nexec env "$@"\\n' > /usr/bin/sudo && chmod +x /usr/bin/sudo""")
    machine.copy(ROOT / "infra" / "fake_vllm.py")
    machine.copy(authority)
    line = site.ok("muster join --name gpu-1 --address 127.0.0.1").rstrip()
    assert "certificate" in machine.sh(line)[1], "it does not trust yet"
    machine.ok(documented("trust"))
    machine.ok(f"{line} --engine process --vllm-command 'python3 /fake_vllm.py'")
    site.key = key
    eventually(site.workers, bool, "the worker joined")
    assert [each["name"] for each in site.json("muster workers")["workers"]] == ["gpu-1"]


def goes_on(site: Site) -> None:
    """The worker is heard from anew, twice, so that it got an answer."""
    first = eventually(lambda: heard(site), bool, "the control plane to answer")
    second = eventually(lambda: heard(site), lambda now: now > first, "a heartbeat")
    eventually(lambda: heard(site), lambda now: now > second, "another heartbeat")


def heard(site: Site) -> str:
    return "".join(str(worker["last_seen"]) for worker in site.workers())


def ask(site: Site, prompt: str) -> str:
    """The answer has the process id of the model in it."""
    seen = site.json("muster show tiny")
    assert (seen["status"], seen["restarts"]) == ("running", 0)
    answer = requests.post(
        f"{seen['endpoint']}/v1/completions",
        json={"prompt": prompt},
        headers={"Authorization": f"Bearer {seen['api_key']}"},
        timeout=PATIENCE,
    ).json()
    text = str(answer["choices"][0]["text"])
    assert prompt in text
    return text


def through_the_gateway(site: Site, key: str) -> str:
    """What the model says to the prompt of `ask` at the site's own address; an error's text while it does not."""
    answer = requests.post(
        f"{site.url}/v1/completions",
        json={"model": "org/tiny", "prompt": "marmalade"},
        headers={"Authorization": f"Bearer {key}"},
        verify=str(site.authority),
        timeout=PATIENCE,
    )
    return str(answer.json()["choices"][0]["text"]) if answer.status_code == 200 else answer.text
