"""The server under test, as a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import requests

ROOT = Path(__file__).parents[2]
ADMIN_KEY = "muster_key_conformance_" + "a1" * 20
REGISTRATION_TOKEN = "muster_reg_conformance_" + "b2" * 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Serve:
    """`python -m infra.local serve`: started, killed and started again on the same port and data."""

    def __init__(self, data: Path, **environment: str) -> None:
        self.data, self.port = data, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        secrets = {"MUSTER_ADMIN_KEY": ADMIN_KEY, "MUSTER_REGISTRATION_TOKEN": REGISTRATION_TOKEN}
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MUSTER_", "PYTEST_"))}
        self.environment = inherited | secrets | environment

    def start(self, seconds: float = 30) -> None:
        """Returns once /api/health answers 200. Raises TimeoutError, with the log's tail, when it does not."""
        command = [sys.executable, "-m", "infra.local", "serve", "--host", "127.0.0.1", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--data", str(self.data)],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + seconds
        while not self.healthy():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise TimeoutError(f"serve did not come up:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.05)

    @property
    def log(self) -> Path:
        return self.data.with_suffix(".log")

    def healthy(self) -> bool:
        try:
            return requests.get(f"{self.url}/api/health", timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def kill(self) -> None:
        """kill -9, to the process and to whatever it started."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM, and no more than five seconds of patience."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.kill()
