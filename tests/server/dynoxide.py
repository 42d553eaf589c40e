"""A real DynamoDB engine over SQLite, from npm: claims about concurrency are tested on it, not on moto."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.network import NETWORKS

PACKAGE = "@dynoxide/linux-x64"
VERSION = "1.2.1"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "muster" / f"dynoxide-{VERSION}"


class Unavailable(Exception):
    """There is no such engine on this machine, and why."""


@contextmanager
def needed() -> Iterator[None]:
    """Where the engine cannot be had, the test is skipped, or fails if it is required."""
    try:
        yield
    except Unavailable as reason:
        if os.environ.get("MUSTER_REQUIRE_DYNAMODB"):
            pytest.fail(f"MUSTER_REQUIRE_DYNAMODB is set, and {reason}")
        pytest.skip(f"this needs a real DynamoDB engine: {reason}")


def executable() -> Path:
    """The engine's binary, fetched once with npm. Raises Unavailable."""
    binary = CACHE / "dynoxide"
    if binary.exists():
        return binary
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable("npm is not installed, and the DynamoDB engine of these tests comes from there")
    with tempfile.TemporaryDirectory() as folder, NETWORKS.outside():
        packed = subprocess.run(
            [npm, "pack", "--silent", f"{PACKAGE}@{VERSION}"], cwd=folder, capture_output=True, text=True, check=False
        )
        if packed.returncode:
            raise Unavailable(f"npm pack {PACKAGE}@{VERSION} failed: {packed.stderr.strip()[-300:]}")
        fetched = Path(folder) / "dynoxide"
        with tarfile.open(Path(folder) / packed.stdout.split()[-1]) as archive:
            content = archive.extractfile("package/dynoxide")
            if content is None:
                raise Unavailable(f"{PACKAGE}@{VERSION} has another layout than it had")
            fetched.write_bytes(content.read())
        fetched.chmod(0o755)
        CACHE.mkdir(parents=True, exist_ok=True)
        # In one step: another process may be about to start it.
        shutil.move(fetched, beside := CACHE / f"dynoxide.{os.getpid()}")
        beside.rename(binary)
    return binary


@contextmanager
def running(database: Path | None = None) -> Iterator[str]:
    """Its URL, while it runs on a database in memory, or in a file."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(executable()), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--db-path", str(database)] if database else []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _until_it_listens(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def _until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)  # a process that starts has no other sign
    raise Unavailable(f"the engine did not start (exit code {process.poll()})")
