"""What would keep this host from being a worker, looked for before it is one; `muster-agent doctor`.

Each check is a function that answers with findings, asks with a time limit, and changes nothing.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import click
import requests

from muster.api.connection import answered_by_something_else, cause
from muster.files.schema import NewerSchema
from muster.http import Bearer, new_session
from muster_agent.config import SettingError, check_url, default_state_dir, hub_cache
from muster_agent.engines.base import EngineError
from muster_agent.gpus.devices import Devices, DeviceSnapshot
from muster_agent.gpus.driver_advice import for_device, for_driver
from muster_agent.host.facts import disk
from muster_agent.state.db_file import SCHEMA

Verdict = Literal["ok", "warning", "bad"]

CONNECTION_TIMEOUT_SECONDS = (5.0, 10.0)
SCARCE_DISK_BYTES = 50 * 10**9
"""Bytes: an image of vLLM and the weights of a small model hardly fit into less."""
MIN_STATE_DISK_BYTES = 64 * 2**20
TOOLKIT = (
    "install NVIDIA's container toolkit: apt-get install nvidia-container-toolkit && nvidia-ctk runtime configure"
    " --runtime=docker && systemctl restart docker"
)
RUNTIMES = ("nvidia-container-runtime-hook", "nvidia-container-toolkit", "nvidia-container-runtime")

UNDER_WSL = "update the driver; under WSL that is the driver of Windows"


@click.command(context_settings={"auto_envvar_prefix": "MUSTER", "max_content_width": 120})
@click.option("--url", metavar="URL", help="The control plane.")
@click.option("--token", metavar="TOKEN", help="Registration token. Better in MUSTER_TOKEN.")
@click.option("--state-dir", type=click.Path(path_type=Path, file_okay=False), default=default_state_dir)
@click.option("--engine", default="docker", show_default=True, type=click.Choice(["docker", "process"]))
@click.option("--vllm-command", default="vllm serve", show_default=True, help="How the process engine starts vLLM.")
@click.option("--insecure", is_flag=True, help="Allow plain http to a control plane that is not on this host.")
def doctor(url: str | None, token: str | None, state_dir: Path, engine: str, vllm_command: str, insecure: bool) -> None:
    """Look for what would keep this host from being a worker, and say what to mend.

    Changes nothing. The options are the agent's, or its variables: MUSTER_URL and so on. Exits with 1 where something
    is bad.
    """
    subject = Subject(url, token, state_dir, engine, insecure, hub_cache(os.environ), vllm_command)
    sys.exit(not report(examine(subject), click.echo))


@dataclass(frozen=True)
class Finding:
    """`mend` is what to do about it."""

    subject: str
    verdict: Verdict
    message: str
    mend: str = ""


@dataclass(frozen=True)
class Subject:
    """The settings that are looked at. `cache` is where weights are kept."""

    url: str | None
    token: str | None = field(repr=False)
    state_dir: Path
    engine: str
    insecure: bool
    cache: Path
    vllm_command: str


def examine(subject: Subject) -> Iterator[Finding]:
    """One after the other, so that what is slow is seen to be."""
    yield from _engine(subject)
    yield from _disks(subject)
    if subject.url is None:
        yield Finding("api", "bad", "no control plane is set", "give --url or MUSTER_URL")
        return
    api = _api(subject.url, subject.insecure)
    yield api
    yield from _token(subject, subject.url, asking=api.verdict == "ok")


# Docker and GPUs


def _engine(subject: Subject) -> Iterator[Finding]:
    snapshot = Devices().read()
    if subject.engine == "process":
        yield _program(subject.vllm_command)
    else:
        yield from _docker(snapshot.info.count)
    yield from _gpus(snapshot)


def _gpus(snapshot: DeviceSnapshot) -> Iterator[Finding]:
    devices = snapshot.info.devices
    if snapshot.failure is not None:
        what = f"NVIDIA's driver does not answer ({snapshot.failure}): only models with gpus: 0 can run here"
        yield Finding("gpu", "warning", what, for_driver(snapshot.code))
        return
    if not devices:
        mend = "for models on GPUs install the driver, until nvidia-smi lists them"
        yield Finding("gpu", "warning", "no NVIDIA GPU answers: only models with gpus: 0 can run here", mend)
        return
    names = ", ".join(sorted({device.name for device in devices if device.name})) or "no name"
    driver = devices[0].driver_version or "of unknown version"
    yield Finding("gpu", "ok", f"{len(devices)} ({names}), driver {driver}")
    for index, error in snapshot.lost.items():
        yield Finding(f"gpu {index}", "warning", f"cannot be used: {error}", for_device(error))
    nameless = [device.index for device in devices if not device.name and not device.lost]
    if nameless:
        what = f"the driver's names cannot be read: that of GPU {_listed(nameless)} stays empty"
        yield Finding("gpu name", "warning", what, f"nothing depends on it; {UNDER_WSL}")
    if devices[0].driver_version is None:
        yield Finding("gpu driver", "warning", "the driver's version cannot be read", UNDER_WSL)
    shared = sorted(snapshot.shared)
    if shared:
        what = f"the memory of GPU {_listed(shared)} is the host's, and NVML does not report how much there is"
        mend = "leave room for the host: set gpu_memory_utilization, which is a share of the host's memory here"
        yield Finding("gpu memory", "warning", what, mend)
    unknown = [
        device.index for device in devices if not device.memory_total and not device.lost and device.index not in shared
    ]
    if unknown:
        what = f"NVML does not report the memory of GPU {_listed(unknown)}, so that no preflight looks at it"
        yield Finding(
            "gpu memory", "warning", what, "run the agent where it may ask: as root, or not inside a container"
        )


def _listed(indexes: Iterable[int]) -> str:
    return ", ".join(map(str, indexes))


def _program(command: str) -> Finding:
    name = command.split()[0] if command.split() else ""
    if shutil.which(name):
        return Finding("vllm", "ok", f"{name} is on the PATH")
    return Finding("vllm", "bad", f"there is no program {name!r} on the PATH", "install vLLM or give --vllm-command")


def _docker(gpus: int) -> Iterator[Finding]:
    from muster_agent.engines.docker.daemon import Daemon  # a host without Docker needs no Docker library

    try:
        with Daemon(timeout=int(CONNECTION_TIMEOUT_SECONDS[1])).asked() as api:
            about = api.info()
    except EngineError as error:
        yield Finding("docker", "bad", error.message, _docker_advice(error.message))
        return
    yield Finding("docker", "ok", f"engine {about.get('ServerVersion')}, {about.get('Containers')} containers")
    yield _space("docker's disk", Path(about["DockerRootDir"]))
    there = "nvidia" in (about.get("Runtimes") or {}) or any(map(shutil.which, RUNTIMES))
    if there:
        yield Finding("nvidia runtime", "ok", "containers can have GPUs")
    else:
        # Without a GPU there is nothing that it could give.
        yield Finding("nvidia runtime", "bad" if gpus else "warning", "Docker cannot give GPUs to containers", TOOLKIT)


def _docker_advice(message: str) -> str:
    if "Permission" in message:
        return "run the agent as root, or add its user to the group docker"
    return "install and start it: apt-get install docker.io && systemctl start docker; or use --engine process"


# Disks


def _disks(subject: Subject) -> Iterator[Finding]:
    yield _space("weights' disk", subject.cache)
    folder = subject.state_dir.absolute()
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(nearest, os.W_OK):
        yield Finding("state folder", "bad", f"{nearest} cannot be written", "run as root, or give another --state-dir")
    elif disk(nearest).free < MIN_STATE_DISK_BYTES:
        yield Finding("state folder", "bad", f"{nearest} is full", "free some space there: the journal is kept in it")
    elif newer := _newer(folder / "journal.sqlite3"):
        yield Finding("state folder", "bad", newer, "install that release again, or give another --state-dir")
    else:
        yield Finding("state folder", "ok", str(folder))


def _space(what: str, path: Path) -> Finding:
    try:
        found = disk(path)
    except OSError as error:
        return Finding(what, "bad", f"{path}: {error.strerror}", "make it readable, or keep it elsewhere")
    free = f"{path}: {found.free / 1e9:.0f} GB free of {found.total / 1e9:.0f} GB"
    if found.free < SCARCE_DISK_BYTES:
        return Finding(what, "warning", free, "free some, or keep it on a larger disk: images and weights are large")
    return Finding(what, "ok", free)


# The control plane and its token


def _api(url: str, insecure: bool) -> Finding:
    try:
        check_url(url, insecure)
    except SettingError as error:
        return Finding("api", "bad", str(error), "correct --url (MUSTER_URL)")
    try:
        address = f"{url.rstrip('/')}/api/health"
        with new_session(os.environ) as session:
            answer = session.get(address, timeout=CONNECTION_TIMEOUT_SECONDS, allow_redirects=False)
    except (requests.RequestException, OSError) as error:
        found = cause(error, url, os.environ)
        mend = found.mend or "look at the address, firewalls and proxy variables of this host"
        return Finding("api", "bad", f"{url} cannot be reached: {found.what}", mend)
    if answer.is_redirect:
        return Finding("api", "bad", f"{url} redirects elsewhere", "give the URL that it redirects to")
    if answer.status_code != 200 or "status" not in answer.text[:1000]:
        known = answered_by_something_else(answer.status_code, answer.content)
        what = f": {known.what}" if known else ""
        mend = known.mend if known else "is this the control plane's URL?"
        return Finding("api", "bad", f"{url} answers {answer.status_code}{what}", mend)
    return Finding("api", "ok", f"{url} is healthy")


def _token(subject: Subject, url: str, asking: bool) -> Iterator[Finding]:
    parked = subject.state_dir / "parked"
    if os.access(parked, os.R_OK):
        mend = "if this host shall be a worker again: stop the agent, and start it once with --rejoin"
        yield Finding("token", "bad", f"this agent is parked: {parked.read_text().strip()}", mend)
        return
    known = journaled(subject.state_dir)
    if known is not None:
        if asking:
            yield _own_token(url, *known)
        return
    if not subject.token:
        mend = "an operator makes one with POST /api/registration-tokens; give it as MUSTER_TOKEN"
        yield Finding("token", "bad", "this host has not joined, and has no registration token", mend)
    elif subject.token.startswith("mst_key_"):
        mend = "ask an operator for a registration token"
        yield Finding("token", "bad", "this is an API key, which lets no host join", mend)
    else:
        yield Finding("token", "ok", "a registration token is set; the first start tries it")


def _own_token(url: str, worker_id: str, token: str) -> Finding:
    """Asked with what changes nothing: a report on a deployment that has no body."""
    path = f"/api/workers/{quote(worker_id, safe='')}/deployments/none/status"
    try:
        address = url.rstrip("/") + path
        with new_session(os.environ) as session:
            answer = session.post(
                address, auth=Bearer(token), timeout=CONNECTION_TIMEOUT_SECONDS, allow_redirects=False
            )
    except (requests.RequestException, OSError) as error:
        return Finding("token", "warning", f"could not be tried: {cause(error, url, os.environ)}", "try again")
    if answer.status_code in (401, 403, 409, 410):
        mend = "a running agent registers again by itself; if this stays, give a registration token and --rejoin"
        return Finding("token", "bad", f"the control plane does not take it ({answer.status_code})", mend)
    return Finding("token", "ok", f"this host is worker {worker_id}")


def _newer(journal: Path) -> str | None:
    """What keeps this release from using a journal of a newer one; read without its lock."""
    with suppress(sqlite3.Error), closing(_read_only(journal)) as connection:
        try:
            SCHEMA.version_of(connection)
        except NewerSchema as error:
            return f"a newer agent wrote {journal} ({error})"
    return None


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)


def journaled(state_dir: Path) -> tuple[str, str] | None:
    """Worker id and token as a running or earlier agent left them; None before it joined. Read without its lock."""
    try:
        with closing(_read_only(state_dir / "journal.sqlite3")) as connection:
            rows = dict(connection.execute("SELECT key, value FROM meta WHERE key IN ('worker_id', 'token')"))
    except sqlite3.Error:
        return None
    return (rows["worker_id"], rows["token"]) if len(rows) == 2 else None


def report(findings: Iterator[Finding], say: Callable[[str], None]) -> bool:
    """A line for each, and one for what to do. Whether the host can be a worker."""
    good = True
    for finding in findings:
        say(f"{finding.verdict:8}{finding.subject}: {finding.message}")
        if finding.mend and finding.verdict != "ok":
            say(f"{'':8}  → {finding.mend}")
        good = good and finding.verdict != "bad"
    return good
