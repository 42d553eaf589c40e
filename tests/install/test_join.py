"""join.sh on a Debian with systemd, from the control plane that serves it, to a model that outlives an upgrade."""

from __future__ import annotations

import pytest

from tests.fixtures.agent_process import ROOT, Operator
from tests.fixtures.serve import Serve
from tests.fixtures.waiting import eventually
from tests.install.debian import Machine

pytestmark = pytest.mark.docker

SETTINGS = "--name joined --engine process --address 127.0.0.1 --vllm-command 'python3 /standin.py'"
NO_HUB = {"HF_ENDPOINT": "http://127.0.0.1:1"}


def join(machine: Machine, url: str, settings: str = "", token: str = "") -> str:
    environment = {"MUSTER_TOKEN": token} if token else {}
    return machine.ok(f"curl -fsSL {url}/join.sh | sh -s -- --url {url} {settings}", **environment)


def main_pid(machine: Machine) -> str:
    return machine.ok("systemctl show --property MainPID --value muster-agent").strip()


def models(machine: Machine) -> list[str]:
    return machine.sh("pgrep -f '^/usr/bin/python3 /standin.py'")[1].split()


def test_a_host_joins_upgrades_and_keeps_its_model(
    machine: Machine, control_plane: Serve, operator: Operator, registration_token: str
) -> None:
    machine.copy(ROOT / "infra" / "standin.py")
    eventually(
        lambda: machine.sh("systemctl is-system-running")[1].strip(), lambda said: said == "running", "systemd is up"
    )
    join(machine, control_plane.url, SETTINGS, registration_token)
    (worker,) = eventually(lambda: operator.call("GET", "/api/workers")["workers"], bool, "the worker joined")
    assert worker["name"] == "joined"
    assert machine.ok("stat -c %a:%U /etc/muster/agent.env /var/lib/muster-agent").split() == ["600:root", "700:root"]
    assert f"this host is worker {worker['worker_id']}" in machine.ok("muster-agent doctor")

    deployment_id = operator.deploy(env=NO_HUB)
    operator.reach(deployment_id, "running")
    before, model = main_pid(machine), models(machine)
    join(machine, control_plane.url)
    assert main_pid(machine) not in (before, "0")
    eventually(
        lambda: machine.ok("journalctl -u muster-agent").count("registered as"), lambda n: n == 2, "it came back"
    )
    assert models(machine) == model and len(model) == 1, "adopted, neither killed nor doubled"
    seen = operator.reach(deployment_id, "running")
    assert seen["restarts"] == 0 and seen["worker_id"] == worker["worker_id"]

    operator.call("POST", f"/api/deployments/{deployment_id}/stop")
    operator.reach(deployment_id, "stopped")
    assert models(machine) == []


def test_the_unit_is_understood_and_hardened(machine: Machine, control_plane: Serve) -> None:
    eventually(
        lambda: machine.sh("systemctl is-system-running")[1].strip(), lambda said: said == "running", "systemd is up"
    )
    join(machine, control_plane.url, SETTINGS, "mst_reg_no_such")
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
    assert machine.sh("grep -rl mst_reg_no_such /etc /opt /usr/local /var/lib")[1].split() == ["/etc/muster/agent.env"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "needs --url"),
        ("--url", "--url needs a value"),
        ("--url x --frob 1", "does not know --frob"),
        ("--url x --models rel", "expected an absolute path"),
        ('--url x --name "it\'s"', "cannot hold a quote"),
    ],
)
def test_what_it_does_not_take(machine: Machine, control_plane: Serve, arguments: str, said: str) -> None:
    code, told = machine.sh(f"curl -fsSL {control_plane.url}/join.sh | sh -s -- {arguments}")
    assert code == 1 and said in told
    assert machine.sh("ls /opt/muster /etc/muster")[0] != 0, "nothing was begun"


def test_it_says_what_the_host_lacks(machine: Machine, control_plane: Serve) -> None:
    machine.ok("mkdir /few && ln -s /usr/bin/id /usr/bin/curl /usr/bin/sh /few")
    code, told = machine.sh(f"curl -fsSL {control_plane.url}/join.sh | PATH=/few sh -s -- --url x")
    assert code == 1 and "apt-get install python3" in told
