"""A Docker daemon of the test's own, which may be killed: other people's containers are the host's daemon's affair."""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import docker
import psutil
from docker.errors import DockerException

from tests.engines.suite import eventually


class OwnDaemon:
    """Containers of it are on the host's own bridge, in an upper part of its addresses; it leaves iptables alone.

    `path` is its PATH, where it looks for NVIDIA's hook.
    """

    def __init__(self, root: Path, path: str | None = None) -> None:
        self._root = root
        self._environment = {**os.environ, **({"PATH": path} if path else {})}
        self._folder = tempfile.TemporaryDirectory(prefix="muster-dockerd-")  # a socket's path must be short
        self.url = f"unix://{self._folder.name}/docker.sock"
        self._log = Path(self._folder.name) / "log"

    def start(self) -> docker.DockerClient:
        folder = self._folder.name
        files = [f"--data-root={self._root}", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid"]
        network = ["--bridge=docker0", "--fixed-cidr=172.17.128.0/17", "--iptables=false", "--ip-masq=false"]
        for left in ("pid", "exec/containerd/containerd.pid"):  # by one that was killed
            Path(folder, left).unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["dockerd", f"--host={self.url}", *files, *network], env=self._environment, stdout=log, stderr=log
            )
        client = eventually(self._connected, 60)
        assert client is not None
        self.client = client
        return client

    def kill(self) -> None:
        """As a power cut does, with its helpers; the containers end no later than when it starts again."""
        helpers = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        self._process.wait()
        for each in helpers:
            with suppress(psutil.NoSuchProcess):
                each.kill()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60)

    def end(self) -> None:
        for each in self.client.containers.list(all=True, ignore_removed=True):
            each.remove(force=True)
        self.stop()
        for mounted in self._mounts():
            subprocess.run(["umount", "--lazy", mounted], check=False)
        self._folder.cleanup()

    def _mounts(self) -> list[str]:
        """What a killed daemon left, the innermost first."""
        points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        return [each for each in reversed(points) if each.startswith((str(self._root), self._folder.name))]

    def _connected(self) -> docker.DockerClient | None:
        assert self._process.poll() is None, self._log.read_text()[-2000:]
        try:
            return docker.DockerClient(base_url=self.url, timeout=60)
        except DockerException:
            return None
