"""A Debian as a host is: Python, curl and systemd. It is an image of the engine for as long as a test run lasts.

Two files take longer to make than all tests that need them: the root of the Debian, by debootstrap, and the wheels that
pip installs there. Both stay in the user's cache, under a name with a digest of what they are made from. The tests use
no package index, so no test depends on one.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.parser import HeaderParser
from functools import partial
from pathlib import Path

import docker
import tomllib
from docker.models.containers import Container

from tests.fixtures import ROOT
from tests.fixtures.docker_engine import LABEL, NAME
from tests.fixtures.kept_release import RELEASE_0_1_0
from tests.fixtures.network import of_process
from tests.fixtures.waiting import eventually

ROOT_IMAGE, IMAGE = f"{NAME}/debian-root:1", f"{NAME}/debian:1"
SUITE = "bookworm"
PACKAGES = "ca-certificates,curl,procps,python3,python3-venv,systemd-sysv,wget"
DPKG = """\
force-unsafe-io
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/man/*
"""
"""Settings of dpkg: what no test reads is not unpacked, and nothing waits for the disk."""
TRUST = Path("/etc/ssl/certs/ca-certificates.crt")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "muster-tests"
KEPT_SECONDS = 30 * 24 * 3600
"""A file of the cache that no test run has used for so long is deleted."""
WHEELS = """\
set -e
python3 -m venv /tmp/venv
/tmp/venv/bin/python -m pip wheel --quiet --wheel-dir /wheels --constraint /inputs/constraints.txt \\
    --requirement /inputs/requirements.txt
"""


def build(client: docker.DockerClient) -> str:
    """Make the image, and return its reference. Raises CalledProcessError, FileNotFoundError."""
    made_from = f"{SUITE} {PACKAGES} {DPKG}"
    root = _cached("debian", made_from, _make_root)
    changes = [f"ENV PIP_CERT={TRUST} container=docker", f"LABEL {LABEL}=1"]
    with root.open("rb") as archive:
        options = [word for change in changes for word in ("--change", change)]
        subprocess.run(["docker", "import", *options, "-", ROOT_IMAGE], stdin=archive, check=True, capture_output=True)
    inputs = _inputs()
    made_from += "".join(f"{name} {text}" for name, text in inputs.items())
    wheels = _cached("wheels", made_from, partial(_make_wheels, client, inputs))
    _build(client, ROOT_IMAGE, IMAGE, {"wheels.tar": wheels.read_bytes()}, *_TRUSTING, *_WITH_WHEELS)
    return IMAGE


_TRUSTING = ["COPY host.crt /usr/local/share/ca-certificates/", f"COPY host.crt {TRUST}"]
"""The Debian trusts whom this host trusts: on the way to a package index there may be a proxy with its own authority.
update-ca-certificates makes the second file anew from the first one."""
_WITH_WHEELS = ["ADD wheels.tar /opt/", "ENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/opt/wheels"]


def _inputs() -> dict[str, str]:
    """All that pip is asked to install in a test, with the versions of requirements-dev.txt."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["agent"]]
    with zipfile.ZipFile(next(RELEASE_0_1_0.glob("*.whl"))) as kept:  # a host of it is upgraded in a test
        (name,) = [each for each in kept.namelist() if each.endswith(".dist-info/METADATA")]
        said = HeaderParser().parsestr(kept.read(name).decode()).get_all("Requires-Dist", [])
    wanted += [str(each) for each in said if "extra ==" not in str(each)]
    pinned = _pinned(ROOT / "requirements-dev.txt")
    server = _pinned(ROOT / "infra/server/requirements.txt")
    return {"requirements.txt": "\n".join([*wanted, *server]), "constraints.txt": "\n".join(pinned)}


def _pinned(lock: Path) -> list[str]:
    """Versions and markers without digests: each platform has others."""
    return [each.strip() for each in re.findall(r"^[^\s#]+==[^\\\n]+", lock.read_text(), re.MULTILINE)]


def _make_root(file: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        (root / "etc/dpkg/dpkg.cfg.d").mkdir(parents=True)
        (root / "etc/dpkg/dpkg.cfg.d/tests").write_text(DPKG)
        make = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(root)]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
        for each in ("var/cache/apt", "var/lib/apt/lists"):
            shutil.rmtree(root / each)
        subprocess.run(["tar", "--create", "--numeric-owner", "-C", str(root), "-f", str(file), "."], check=True)


def _make_wheels(client: docker.DockerClient, inputs: dict[str, str], file: Path) -> None:
    """By pip of that Debian, as a tar of the folder `wheels`."""
    trusting = f"{NAME}/debian-trusting:1"
    contents = {f"inputs/{name}": text.encode() for name, text in inputs.items()}
    _build(client, ROOT_IMAGE, trusting, contents, *_TRUSTING, "COPY inputs /inputs")
    container = client.containers.create(trusting, ["sh", "-c", WHEELS], network_mode="host")
    try:
        container.start()
        code = container.wait()["StatusCode"]
        assert code == 0, container.logs().decode(errors="replace")[-4000:]
        chunks, _ = container.get_archive("/wheels")
        with file.open("wb") as archive:
            for chunk in chunks:
                archive.write(chunk)
    finally:
        container.remove(force=True, v=True)


def _build(client: docker.DockerClient, base: str, reference: str, files: dict[str, bytes], *lines: str) -> None:
    dockerfile = "\n".join([f"FROM {base}", *lines, ""]).encode()
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        trust = TRUST.read_bytes() if TRUST.exists() else b""
        for name, content in {"Dockerfile": dockerfile, "host.crt": trust, **files}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    context.seek(0)
    client.images.build(fileobj=context, custom_context=True, tag=reference, rm=True, forcerm=True)


def _cached(name: str, made_from: str, make: Callable[[Path], None]) -> Path:
    """A file of the cache. `make` writes it where it is missing or damaged, in one process at a time."""
    CACHE.mkdir(parents=True, exist_ok=True)
    path = CACHE / f"{name}-{hashlib.sha256(made_from.encode()).hexdigest()[:16]}.tar"
    digest = path.with_suffix(".sha256")
    with path.with_suffix(".lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not (path.exists() and digest.exists() and digest.read_text() == _digest(path)):
            fresh = path.with_suffix(".new")
            make(fresh)
            digest.write_text(_digest(fresh))
            fresh.rename(path)
        for each in (path, digest):
            os.utime(each)
    for each in CACHE.iterdir():
        if each.stat().st_mtime < time.time() - KEPT_SECONDS:
            each.unlink(missing_ok=True)
    return path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Machine:
    """A container of it. With `systemd` that is its first process. `network`: the `host`'s, or `none`: a loopback."""

    def __init__(self, client: docker.DockerClient, systemd: bool = True, network: str = "host") -> None:
        self.container: Container = client.containers.run(
            IMAGE,
            ["/sbin/init"] if systemd else ["sleep", "infinity"],
            detach=True,
            network_mode=network,
            cap_add=["SYS_ADMIN"],
            security_opt=["seccomp=unconfined", "apparmor=unconfined"],
            tmpfs={"/run": "", "/run/lock": "", "/tmp": ""},
            volumes=["/sys/fs/cgroup:/sys/fs/cgroup:rw"],
        )

    @contextmanager
    def in_its_network(self) -> Iterator[None]:
        """The test, and what it starts meanwhile: a server at 127.0.0.1 is then all that the machine can reach."""
        self.container.reload()
        with of_process(int(self.container.attrs["State"]["Pid"])):
            yield

    def sh(self, script: str, **environment: str) -> tuple[int, str]:
        """Exit code, and what it said on both outputs."""
        code, said = self.container.exec_run(["sh", "-c", script], environment=environment)
        assert code is not None and isinstance(said, bytes), "it was neither detached nor streamed"
        return code, said.decode(errors="replace")

    def ok(self, script: str, **environment: str) -> str:
        code, said = self.sh(script, **environment)
        assert code == 0, said
        return said

    def is_up(self) -> None:
        """Wait until systemd has started all that it starts."""
        eventually(
            lambda: self.sh("systemctl is-system-running")[1].strip(), lambda said: said == "running", "systemd is up"
        )

    def copy(self, source: Path, folder: str = "/") -> None:
        subprocess.run(["docker", "cp", str(source), f"{self.container.id}:{folder}"], check=True, capture_output=True)

    def end(self) -> None:
        self.container.remove(force=True, v=True)
