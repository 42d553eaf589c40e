"""join.sh on hosts that reach their control plane and nothing else: no package index, no name server, no route.

The host's only network is a loopback, in which the control plane and the test run too.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import docker
import pytest

from chalicelib.routes import wheels
from infra.wheelhouse import here
from tests.fixtures import ROOT
from tests.fixtures.agent_process import Operator
from tests.fixtures.kept_release import RELEASE_0_1_0, Release, ReleaseServe
from tests.fixtures.serve import ADMIN_KEY, REGISTRATION_TOKEN, Serve
from tests.fixtures.waiting import eventually
from tests.install.debian import Machine

pytestmark = pytest.mark.docker

SETTINGS = "--name joined --engine process --address 127.0.0.1 --vllm-command 'python3 /fake_vllm.py'"
NO_HUB = {"HF_ENDPOINT": "http://127.0.0.1:1"}
NO_INDEX = {"PIP_NO_INDEX": "", "PIP_FIND_LINKS": ""}
"""pip asks its usual index, which it cannot reach. The image's own setting is a folder: a stand-in for an index."""
HOSTS_OWN = (
    r"[global]\nindex-url = http://127.0.0.1:1/\nextra-index-url = http://127.0.0.1:1/\n[install]\nuser = true\n"
)
"""Settings of pip, as printf reads them, with which an installation in a virtual environment fails."""
PIP = "/opt/muster/bin/python -m pip"


class Host:
    """A Debian in a network of its own."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine, self.folder = machine, folder
        self._ends = ExitStack()

    def serves(self, serve: Serve) -> Serve:
        self._ends.enter_context(serve)
        return serve

    def plane(self, wheelhouse: Path) -> Serve:
        data = self.folder / "data"
        return self.serves(Serve(data, MUSTER_HEARTBEAT="1", MUSTER_WHEELHOUSE=str(wheelhouse)))

    def join(self, serve: Serve, settings: str = "", **environment: str) -> tuple[int, str]:
        script = f"curl -fsSL {serve.url}/join.sh | sh -s -- --url {serve.url} {settings}"
        return self.machine.sh(script, **{**NO_INDEX, "MUSTER_TOKEN": REGISTRATION_TOKEN, **environment})

    def main_pid(self) -> str:
        return self.machine.ok("systemctl show --property MainPID --value muster-agent").strip()

    def end(self) -> None:
        self._ends.close()
        self.machine.end()


@pytest.fixture
def new_host(docker_engine: docker.DockerClient, debian_image: str, tmp_path: Path) -> Iterator[Callable[..., Host]]:
    with ExitStack() as ends:

        def make(systemd: bool = True) -> Host:
            host = Host(Machine(docker_engine, systemd=systemd, network="none"), tmp_path)
            ends.callback(host.end)
            ends.enter_context(host.machine.in_its_network())
            host.machine.copy(ROOT / "infra" / "fake_vllm.py")
            if systemd:
                host.machine.is_up()
            return host

        yield make


def workers(operator: Operator) -> dict[str, str]:
    return {each["name"]: each["worker_id"] for each in operator.call("GET", "/api/workers")["workers"]}


def distributions(machine: Machine) -> set[str]:
    return {line.partition("==")[0].lower() for line in machine.ok(f"{PIP} list --format freeze").split()}


def test_a_host_of_0_1_0_upgrades_without_an_index_and_keeps_its_state_and_its_model(
    new_host: Callable[..., Host], wheel_served: Path, wheelhouse_here: Path, tmp_path: Path
) -> None:
    host, release = new_host(), Release(RELEASE_0_1_0, tmp_path / "release")
    machine = host.machine
    shutil.copy(next(RELEASE_0_1_0.glob("*.whl")), release.control_plane / "chalicelib" / "static")
    with ReleaseServe(release, tmp_path / "data", MUSTER_HEARTBEAT="1") as old:
        at_that_time = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/opt/wheels"}
        code, said = host.join(old, SETTINGS, **at_that_time)
        assert code == 0, said
        operator = Operator(old.url, ADMIN_KEY)
        (worker_id,) = eventually(lambda: list(workers(operator).values()), bool, "the worker joined")
        deployment_id = operator.deploy(env=NO_HUB, worker_id=worker_id)
        operator.reach(deployment_id, "running")
    model, agent = machine.ok("pgrep -f '^/usr/bin/python3 /fake_vllm.py'"), host.main_pid()
    journal = machine.ok("ls /var/lib/muster-agent")
    machine.ok("rm -r /opt/wheels")

    new = Serve(tmp_path / "data", MUSTER_HEARTBEAT="1", MUSTER_WHEELHOUSE=str(wheelhouse_here))
    new.port, new.url = old.port, old.url
    host.serves(new)
    assert machine.sh("curl -sS --max-time 5 http://198.51.100.1/")[0] != 0, "there is no way out"
    code, said = host.join(new)
    assert code == 0, said
    assert host.main_pid() not in (agent, "0")
    own = wheel_served.name.partition("-")[0].replace("_", "-")
    names = distributions(machine)
    assert own in names and (own == "muster" or "muster" not in names), "the former package is gone"
    assert machine.sh("ls -d /opt/muster/lib/python3*/site-packages/agent")[0] != 0
    assert machine.ok(f"{PIP} check").strip() == "No broken requirements found."
    assert machine.ok("ls /var/lib/muster-agent/journal* | head -1"), journal
    seen = eventually(lambda: operator.call("GET", f"/api/workers/{worker_id}"), lambda w: w["status"] == "online")
    assert seen["agent_version"] and list(workers(operator).values()) == [worker_id]
    deployment = operator.reach(deployment_id, "running")
    assert (deployment["restarts"], deployment["worker_id"]) == (0, worker_id)
    assert machine.ok("pgrep -f '^/usr/bin/python3 /fake_vllm.py'") == model, "neither stopped nor started again"
    operator.call("POST", f"/api/deployments/{deployment_id}/stop")
    operator.reach(deployment_id, "stopped")


def test_a_host_without_a_wheelhouse_is_told_and_may_use_its_own_index(
    new_host: Callable[..., Host], wheel_served: Path, tmp_path: Path
) -> None:
    host = new_host(systemd=False)
    serve = host.plane(tmp_path / "nowhere")
    code, said = host.join(serve, SETTINGS)
    assert code == 1 and "make wheelhouse" in said and "--use-index" in said
    assert host.machine.sh("ls -d /opt/muster /etc/muster")[0] != 0, "nothing was begun"

    code, said = host.join(serve, f"{SETTINGS} --use-index", PIP_NO_INDEX="1")
    assert code == 1 and "package index (pip says why above)" in said, "pip has no index here"
    code, said = host.join(serve, f"{SETTINGS} --use-index", PIP_NO_INDEX="1", PIP_FIND_LINKS="/opt/wheels")
    assert code == 0 and "installed muster-agent, version" in said, said


def test_a_wheel_that_is_not_the_listed_one_is_refused_and_the_agent_stays(
    new_host: Callable[..., Host], wheel_served: Path, wheelhouse_here: Path, tmp_path: Path
) -> None:
    host = new_host(systemd=False)
    machine, own = host.machine, tmp_path / "wheelhouse"
    machine.ok("rm -r /opt/wheels")
    own.mkdir()
    needed = wheels.lock().of(here())
    for each in needed:
        shutil.copy(wheelhouse_here / each.file, own)
    serve = host.plane(own)
    code, said = host.join(serve, SETTINGS, TMPDIR='/tmp/it\'s a "folder"')
    assert code == 1 and "set TMPDIR" in said
    machine.ok('mkdir -p "/tmp/it\'s a folder"')
    machine.ok(f"printf '{HOSTS_OWN}' > /etc/pip.conf")
    code, said = host.join(serve, SETTINGS, TMPDIR="/tmp/it's a folder")
    assert code == 0, said
    assert machine.ok('ls -A "/tmp/it\'s a folder"') == "", "nothing is left behind"

    before = machine.ok("find /opt/muster -type f -not -path '*/__pycache__/*' | sort | xargs -d '\\n' sha256sum")
    (own / needed[0].file).write_bytes((own / needed[1].file).read_bytes())
    code, said = host.join(serve)
    assert code == 1 and "not those that it lists" in said and "nothing was changed" in said
    (own / needed[0].file).unlink()
    code, said = host.join(serve)
    assert code == 1 and f"/wheels/{needed[0].file}: HTTP 404" in said
    serve.stop()
    machine.copy(ROOT / "chalicelib" / "static" / "join.sh")
    code, said = machine.sh("sh /join.sh", **NO_INDEX)
    assert code == 1 and "curl says why above" in said
    after = machine.ok("find /opt/muster -type f -not -path '*/__pycache__/*' | sort | xargs -d '\\n' sha256sum")
    assert after == before
    assert "muster-agent, version" in machine.ok("muster-agent --version")


def test_a_virtual_environment_that_does_not_work_is_made_anew(
    new_host: Callable[..., Host], wheel_served: Path, wheelhouse_here: Path
) -> None:
    host = new_host(systemd=False)
    machine, serve = host.machine, host.plane(wheelhouse_here)
    machine.ok("mkdir -p /opt/muster/bin && ln -s /usr/bin/python3 /opt/muster/bin/python")
    code, said = host.join(serve, SETTINGS)
    assert code == 0, said
    machine.ok("rm -r /opt/muster/lib/python3*/site-packages/pip")
    code, said = host.join(serve)
    assert code == 0, said
    assert "muster-agent, version" in machine.ok("muster-agent --version")
