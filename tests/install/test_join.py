"""join.sh on a Debian with systemd, from the control plane that serves it, to a model that outlives an upgrade."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

import docker
import pytest

from tests.fixtures import ROOT
from tests.fixtures.agent_process import Operator
from tests.fixtures.serve import Serve
from tests.fixtures.waiting import eventually
from tests.install.debian import Machine

pytestmark = pytest.mark.docker

MODELS = """/var/lib/muster models/it's 100% "of" $HOME"""
SETTINGS = (
    f"--models {shlex.quote(MODELS)} --name joined --engine process --address 127.0.0.1"
    " --vllm-command 'python3 /fake_vllm.py'"
)
NO_HUB = {"HF_ENDPOINT": "http://127.0.0.1:1"}


@dataclass(frozen=True)
class Host:
    """A Debian that has joined the control plane, with the stand-in for vLLM."""

    machine: Machine
    token: str
    worker_id: str


def join(machine: Machine, url: str, settings: str = "", token: str = "") -> str:
    environment = {"MUSTER_TOKEN": token} if token else {}
    return machine.ok(f"curl -fsSL {url}/join.sh | sh -s -- --url {url} {settings}", **environment)


def joined(operator: Operator) -> list[str]:
    return [each["worker_id"] for each in operator.call("GET", "/api/workers")["workers"] if each["name"] == "joined"]


@pytest.fixture(scope="module")
def host(machine: Machine, control_plane: Serve, operator: Operator, registration_token: str) -> Host:
    machine.copy(ROOT / "infra" / "fake_vllm.py")
    machine.is_up()
    join(machine, control_plane.url, SETTINGS, registration_token)
    (worker_id,) = eventually(lambda: joined(operator), bool, "the worker joined")
    return Host(machine, registration_token, worker_id)


@pytest.fixture(scope="module")
def bare(docker_engine: docker.DockerClient, debian_image: str) -> Iterator[Machine]:
    """One that no test changes."""
    machine = Machine(docker_engine, systemd=False)
    try:
        yield machine
    finally:
        machine.end()


def main_pid(machine: Machine) -> str:
    return machine.ok("systemctl show --property MainPID --value muster-agent").strip()


def models(machine: Machine) -> list[str]:
    return machine.sh("pgrep -f '^/usr/bin/python3 /fake_vllm.py'")[1].split()


def test_a_host_joins_upgrades_and_keeps_its_model(host: Host, control_plane: Serve, operator: Operator) -> None:
    machine = host.machine
    assert machine.ok("stat -c %a:%U /etc/muster/agent.env /var/lib/muster-agent").split() == ["600:root", "700:root"]
    assert f"this host is worker {host.worker_id}" in machine.ok("muster-agent doctor")

    deployment_id = operator.deploy(env=NO_HUB, worker_id=host.worker_id)
    operator.reach(deployment_id, "running")
    before, model = main_pid(machine), models(machine)
    join(machine, control_plane.url)
    assert main_pid(machine) not in (before, "0")
    eventually(
        lambda: machine.ok("journalctl -u muster-agent").count("registered as"), lambda n: n == 2, "it came back"
    )
    assert models(machine) == model and len(model) == 1, "adopted, neither killed nor doubled"
    seen = operator.reach(deployment_id, "running")
    assert seen["restarts"] == 0 and seen["worker_id"] == host.worker_id

    operator.call("POST", f"/api/deployments/{deployment_id}/stop")
    operator.reach(deployment_id, "stopped")
    assert models(machine) == []


def test_the_unit_is_understood_and_hardened(host: Host) -> None:
    machine = host.machine
    assert machine.ok("systemd-analyze verify muster-agent.service") == ""
    properties = "KillMode,NoNewPrivileges,ProtectSystem,Restart,CapabilityBoundingSet"
    shown = machine.ok(f"systemctl show muster-agent --property {properties}").splitlines()
    assert set(shown) == {
        "KillMode=process",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "Restart=always",
        "CapabilityBoundingSet=",
    }
    # The token is in no command line and in no file that others can read.
    assert machine.sh(f"grep -rl {host.token} /etc /opt /usr/local /var/lib")[1].split() == ["/etc/muster/agent.env"]


def test_the_service_has_the_paths_and_the_proxies_of_the_shell_as_they_were(host: Host, control_plane: Serve) -> None:
    machine, proxy = host.machine, "it's, $HOME"
    machine.ok(f"curl -fsSL {control_plane.url}/join.sh | sh -s -- --url {control_plane.url}", no_proxy=f"*,{proxy}")
    environment = machine.ok(f"cat /proc/{main_pid(machine)}/environ").split("\0")
    assert f"HF_HOME={MODELS}" in environment
    assert f"no_proxy=*,{proxy}" in environment
    shown = machine.ok("systemctl show --property ReadWritePaths --value muster-agent")  # escaped as in a unit
    assert MODELS in shown.replace("\\", "")
    assert machine.ok("sh -c 'set -a; . /etc/muster/agent.env; printenv HF_HOME'") == f"{MODELS}\n"


def test_what_the_owner_allows_is_given_to_the_service_and_stays(host: Host, control_plane: Serve) -> None:
    machine = host.machine
    allowed = "--allow-mount /opt:ro --allow-mount=/tmp --share-env MINE --allow-host-network --allow-entrypoint"
    join(machine, control_plane.url, allowed)
    for _ in range(2):
        environment = machine.ok(f"cat /proc/{main_pid(machine)}/environ").split("\0")
        settings = {each for each in environment if each.startswith(("MUSTER_ALLOW_", "MUSTER_SHARE_"))}
        assert settings == {
            "MUSTER_ALLOW_MOUNT=/opt:ro /tmp",
            "MUSTER_ALLOW_HOST_NETWORK=1",
            "MUSTER_ALLOW_ENTRYPOINT=1",
            "MUSTER_SHARE_ENV=MINE",
        }
        join(machine, control_plane.url)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "needs --url"),
        ("--url", "--url needs a value"),
        ("--url x --frob 1", "does not know --frob"),
        ("--url x --models rel", "expected an absolute path"),
        ("--url x --allow-mount", "--allow-mount needs a value"),
        ("--url x --allow-mount '/a b'", "--allow-mount: expected no spaces"),
        ('--url x --name "$(printf "a\\nb")"', "cannot hold a line break"),
    ],
)
def test_wrong_settings_are_refused_and_change_nothing(
    bare: Machine, control_plane: Serve, arguments: str, said: str
) -> None:
    code, told = bare.sh(f"curl -fsSL {control_plane.url}/join.sh | sh -s -- {arguments}")
    assert code == 1 and said in told
    assert bare.sh("ls /opt/muster /etc/muster")[0] != 0, "nothing was begun"


def test_it_says_what_the_host_lacks(bare: Machine, control_plane: Serve) -> None:
    bare.ok("mkdir -p /few && ln -sf /usr/bin/id /usr/bin/curl /usr/bin/sh /few")
    code, told = bare.sh(f"curl -fsSL {control_plane.url}/join.sh | PATH=/few sh -s -- --url x")
    assert code == 1 and "apt-get install python3" in told
