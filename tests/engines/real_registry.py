"""Debian's `docker-registry` on a free port of this host, open or behind a password, and images made from nothing."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
import requests
from docker.errors import ImageNotFound

from tests.engines.suite import any_port, eventually

USER, PASSWORD = "reader", "open sesame"
# Of that password, by bcrypt with as little work as that allows: the registry takes nothing else.
HTPASSWD = "reader:$2b$04$W6Ao6W4OK6O/sYb7W7MoeeojHYNkZ5HVqaVsVkpSyVIamfo/7/5gC\n"
CONFIG = """\
version: 0.1
storage: {{filesystem: {{rootdirectory: "{folder}/blobs"}}}}
http: {{addr: "127.0.0.1:{port}"}}
log: {{level: error}}
"""


@dataclass
class RealRegistry:
    client: docker.DockerClient
    folder: Path
    port: int
    has_password: bool

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        config = self.folder / "config.yml"
        text = CONFIG.format(folder=self.folder, port=self.port)
        if self.has_password:
            (self.folder / "htpasswd").write_text(HTPASSWD)
            text += f'auth: {{htpasswd: {{realm: test, path: "{self.folder}/htpasswd"}}}}\n'
        config.write_text(text)
        with (self.folder / "registry.log").open("ab") as log:
            self._process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
        eventually(self._answers)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def push(self, name: str, *sizes: int) -> str:
        """An image of as many layers, each with a file of so many bytes that do not compress; kept here alone."""
        reference = f"{self.host}/{name}"
        lines = ["FROM scratch", *(f"COPY {number} /weights-{number}" for number in range(len(sizes)))]
        files = {str(number): os.urandom(size) for number, size in enumerate(sizes)}
        context = _tar({"Dockerfile": "\n".join(lines).encode(), **files})
        self.client.images.build(fileobj=context, custom_context=True, tag=reference, rm=True)
        login = {"username": USER, "password": PASSWORD} if self.has_password else {"username": "", "password": ""}
        for event in self.client.api.push(reference, auth_config=login, stream=True, decode=True):
            assert "error" not in event, event
        self.forget(reference)
        return reference

    def forget(self, reference: str) -> None:
        with suppress(ImageNotFound):
            self.client.images.remove(reference, force=True)

    def _answers(self) -> bool:
        try:
            return requests.get(f"http://{self.host}/v2/", timeout=5).status_code in (200, 401)
        except requests.ConnectionError:
            return False


@contextmanager
def real_registry(client: docker.DockerClient, folder: Path, has_password: bool = False) -> Iterator[RealRegistry]:
    if shutil.which("docker-registry") is None:
        why = "there is no docker-registry here (apt-get install docker-registry)"
        if os.environ.get("MUSTER_REQUIRE_DOCKER") == "1":
            pytest.fail(f"MUSTER_REQUIRE_DOCKER=1, but {why}", pytrace=False)
        pytest.skip(why)
    folder.mkdir()
    registry = RealRegistry(client, folder, any_port(), has_password)
    registry.start()
    try:
        yield registry
    finally:
        registry.stop()


def logged_in(folder: Path, host: str, user: str = USER, password: str = PASSWORD) -> None:
    """What `docker login` leaves in the owner's Docker config, which is in `folder`."""
    entry = {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}
    other = {"auth": base64.b64encode(b"somebody:else").decode()}
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"auths": {"registry.example": other, host: entry}}))


def _tar(files: dict[str, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    buffer.seek(0)
    return buffer
