"""A Debian as a host is: Python, curl and systemd, made by debootstrap once and kept as an image of the engine."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import docker
from docker.errors import ImageNotFound
from docker.models.containers import Container

REFERENCE = "muster-test/debian:bookworm-2"
PACKAGES = "ca-certificates,curl,procps,python3,python3-venv,systemd-sysv,wget"
TRUST = "/etc/ssl/certs/ca-certificates.crt"


def image(client: docker.DockerClient) -> str:
    """Its reference. Takes a minute where it is not there yet. Raises CalledProcessError, FileNotFoundError."""
    try:
        client.images.get(REFERENCE)
    except ImageNotFound:
        _make()
    return REFERENCE


def _make() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = f"{folder}/root"
        make = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", root]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
        # It trusts whom this host trusts: on the way to a package index there may be a proxy with its own authority.
        # The second place is from where update-ca-certificates makes the first one anew.
        trust = Path(root + TRUST)
        trust.write_bytes(Path(TRUST).read_bytes() if Path(TRUST).exists() else trust.read_bytes())
        shutil.copy(trust, f"{root}/usr/local/share/ca-certificates/host.crt")
        changes = [f"ENV PIP_CERT={TRUST}", "ENV container=docker"]
        options = [word for change in changes for word in ("--change", change)]
        archive = subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE)
        subprocess.run(["docker", "import", *options, "-", REFERENCE], stdin=archive.stdout, check=True)
        if archive.wait():
            raise subprocess.CalledProcessError(archive.returncode, "tar")


class Machine:
    """A container of it on the host's network, with systemd as its first process."""

    def __init__(self, client: docker.DockerClient) -> None:
        self.container: Container = client.containers.run(
            image(client),
            ["/sbin/init"],
            detach=True,
            network_mode="host",
            cap_add=["SYS_ADMIN"],
            security_opt=["seccomp=unconfined", "apparmor=unconfined"],
            tmpfs={"/run": "", "/run/lock": "", "/tmp": ""},
            volumes=["/sys/fs/cgroup:/sys/fs/cgroup:rw"],
        )

    def sh(self, script: str, **environment: str) -> tuple[int, str]:
        """Exit code, and what it said on both outputs."""
        code, said = self.container.exec_run(["sh", "-c", script], environment=environment)
        assert code is not None and isinstance(said, bytes), "it was neither detached nor streamed"
        return code, said.decode(errors="replace")

    def ok(self, script: str, **environment: str) -> str:
        code, said = self.sh(script, **environment)
        assert code == 0, said
        return said

    def copy(self, source: Path, folder: str = "/") -> None:
        subprocess.run(["docker", "cp", str(source), f"{self.container.id}:{folder}"], check=True)

    def end(self) -> None:
        self.container.remove(force=True, v=True)
