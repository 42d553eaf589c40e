"""Make a folder such as release_0_1_0 from a commit: its code, and what that code wrote when it ran.

    .venv/bin/python -m tests.compatibility.make_release COMMIT

Needs root, for a host name that is not this machine's. README.md in the folder says what is in it.
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import lzma
import shutil
import socket
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgspec
import psutil

from tests.fixtures import ROOT
from tests.fixtures.agent_process import Operator
from tests.fixtures.kept_release import Release, ReleaseHost, ReleaseServe, unpack
from tests.fixtures.waiting import eventually

CLONE_NEWUTS = 0x04000000
HOSTNAME = "gpu-host"
FOLDER = Path("/tmp/muster-release")
"""The agent reports paths: the kept files name this one and no other."""
CONTROL_PLANE = [
    "app.py",
    "chalicelib",
    ".chalice",
    "infra/*.py",
    "muster/__init__.py",
    "muster/sanitize.py",
    "muster/api",
    "muster/files",
]
"""What `python -m infra.local serve` imports and reads, besides libraries."""
ADMIN_KEY = "mst_key_" + "kept-admin-" * 4
REGISTRATION_TOKEN = "mst_reg_" + "kept-token-" * 4


def main(commit: str) -> None:
    FOLDER.mkdir()
    try:
        kept = _code(commit)
        _run(Release(kept, FOLDER / "unpacked"), kept)
    finally:
        shutil.rmtree(FOLDER)
    files = sorted(file for file in kept.iterdir() if file.name not in ("README.md", "SHA256SUMS"))
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (kept / "SHA256SUMS").write_text("".join(sums))


def _code(commit: str) -> Path:
    """The folder of this release, with its wheel and its control plane."""
    source = FOLDER / "source"
    unpack(_git_archive(commit, "source"), source)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(FOLDER)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True)
    (wheel,) = FOLDER.glob("muster*.whl")
    kept = Path(__file__).parent / f"release_{wheel.name.split('-')[1].replace('.', '_')}"
    kept.mkdir(exist_ok=True)
    shutil.copyfile(wheel, kept / wheel.name)
    _compress(_git_archive(commit, "control-plane", *CONTROL_PLANE).read_bytes(), kept / "control-plane.tar.xz")
    return kept


def _git_archive(commit: str, name: str, *paths: str) -> Path:
    file = FOLDER / f"{name}.tar"
    subprocess.run(["git", "-C", str(ROOT), "archive", f"--output={file}", commit, "--", *paths], check=True)
    return file


def _run(release: Release, kept: Path) -> None:
    """Run the release, and keep what it wrote and what it answered."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUTS) != 0:
        raise OSError(ctypes.get_errno(), "a host name of its own needs root")
    socket.sethostname(HOSTNAME)
    (FOLDER / "host").mkdir()
    secrets = {"MUSTER_ADMIN_KEY": ADMIN_KEY, "MUSTER_REGISTRATION_TOKEN": REGISTRATION_TOKEN}
    serve = ReleaseServe(release, FOLDER / "data", MUSTER_HEARTBEAT="1", **secrets)
    with ExitStack() as ends:
        serve.start()
        ends.callback(serve.kill)
        operator = Operator(serve.url, ADMIN_KEY)
        host = ReleaseHost(release, FOLDER / "host", serve.url, name=HOSTNAME, token=REGISTRATION_TOKEN)
        host.environment["HF_HOME"] = str(FOLDER / "huggingface")
        host.start()
        ends.callback(host.end)
        facts = _use(operator)
        serve.stop()
        _crash(host, facts["crashed"])
        host.kill()
        # While the model runs: the folder is as a host leaves it that loses its power.
        _compress(_tar(host.folder / "state"), kept / "state.tar.xz")
        _compress(_tar(serve.data), kept / "data.tar.xz")
        (kept / "facts.json").write_bytes(msgspec.json.format(msgspec.json.encode(facts), indent=2) + b"\n")


def _use(operator: Operator) -> dict[str, Any]:
    """Give the control plane and the agent something of everything to keep. Returns secrets, ids, and lists."""
    (worker,) = eventually(lambda: operator.call("GET", "/api/workers")["workers"], bool, "the worker joined")
    viewer = operator.call("POST", "/api/api-keys", {"name": "viewer", "role": "viewer"})
    revoked = operator.call("POST", "/api/api-keys", {"name": "revoked", "role": "operator"})
    operator.call("DELETE", f"/api/api-keys/{revoked['key_id']}")
    operator.call("POST", "/api/registration-tokens", {"name": "one more", "expires_in": 31536000, "max_uses": 5})
    running, crashed, stopped = (
        operator.deploy(name=name, model=f"org/{name}", restart="never" if name == "crashed" else "on-failure")
        for name in ("running", "crashed", "stopped")
    )
    waiting = operator.deploy(name="waiting", model="org/waiting", selector={"zone": "nowhere"})
    for deployment_id in (running, crashed, stopped):
        operator.reach(deployment_id, "running")
    operator.call("POST", f"/api/deployments/{stopped}/stop")
    operator.reach(stopped, "stopped")
    path = f"/api/deployments/{running}/logs?lines=10"
    eventually(lambda: operator.call("GET", path).get("logs"), bool, "the logs, by an operation")
    operator.call("POST", f"/api/workers/{worker['worker_id']}/storage/prune", {"volumes": True})
    lists = {
        name: operator.call("GET", f"/api/{name}")
        for name in ("workers", "deployments", "api-keys", "registration-tokens")
    }
    return {
        "admin_key": ADMIN_KEY,
        "viewer_key": viewer["key"],
        "revoked_key": revoked["key"],
        "registration_token": REGISTRATION_TOKEN,
        "running": running,
        "crashed": crashed,
        "stopped": stopped,
        "waiting": waiting,
        "lists": lists,
    }


def _crash(host: ReleaseHost, deployment_id: str) -> None:
    """End a model while the control plane is away, for good; returns when the report waits in the outbox."""
    (pid,) = [pid for pid in host.models() if "org/crashed" in psutil.Process(pid).cmdline()]
    psutil.Process(pid).kill()
    eventually(lambda: _reported(host.folder / "state" / "journal.sqlite3", deployment_id), bool, "the report waits")


def _reported(journal: Path, deployment_id: str) -> list[Any]:
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT body FROM spool WHERE about = ?", (deployment_id,)).fetchall()


def _tar(folder: Path) -> bytes:
    """The folder's content, of no particular user."""

    def nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with io.BytesIO() as content:
        with tarfile.open(fileobj=content, mode="w") as archive:
            for path in sorted(folder.iterdir()):
                archive.add(path, path.name, filter=nobody)
        return content.getvalue()


def _compress(content: bytes, file: Path) -> None:
    file.write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    main(*sys.argv[1:])
