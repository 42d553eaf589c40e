"""Containers. The fixed name makes creating one atomic; its labels say whose it is; nothing is remembered here."""

from __future__ import annotations

import errno
import logging
import math
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, Literal

import docker
import requests
from docker.types import DeviceRequest, LogConfig, Mount

from muster.api.messages import Image, Progress, Pruned, Pulled
from muster_agent.engines import labels, ports
from muster_agent.engines.base import EngineError, Instance, LogChunk, Offer, RunSpec
from muster_agent.engines.docker.daemon import APIError, Daemon, NotFound
from muster_agent.engines.docker.entrypoint import command_line
from muster_agent.engines.docker.images import PATIENCE_SECONDS, Images, checked
from muster_agent.engines.docker.inspect_cache import InspectCache
from muster_agent.engines.docker.logs import read_log
from muster_agent.engines.docker.prune import prune
from muster_agent.engines.log_lines import parse_time
from muster_agent.state.dir import owner_name

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 120
"""What the daemon may take for one answer: starting a container on a cold GPU driver takes tens of seconds."""

LISTING_TIMEOUT_SECONDS = 30
"""Seconds that the daemon may take to list what runs; a daemon that hangs is reported after that."""

SHM_BYTES = 16 * 1024**3
"""The most shared memory that a container may fill; with Docker's 64 MiB vLLM dies. None of it is set aside."""

LOG_LIMITS = {"max-size": "32m", "max-file": "2"}

NAME_SECONDS = 10.0
"""How long a name may be taken without a container to show for it."""

DEFAULT_ROOT = Path("/var/lib/docker")
ROOT_REFRESH_SECONDS = 60.0
"""Seconds after which a daemon that did not tell its folder is asked for it again."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}", re.ASCII)
_STATES: dict[str, Literal["created", "running", "exited"]] = {
    "created": "created",
    "running": "running",
    "paused": "running",
    "restarting": "running",
}


class DockerEngine:
    """Runs vLLM's official image, or what else the host's owner allows. Needs no daemon until it is used.

    `worker_id`, once it is known, keeps `prune` from what other workers on this host have left. `patience` in seconds
    is for a pull that stands still.
    """

    name = "docker"
    uses_images = True

    def __init__(
        self,
        worker_id: Callable[[], str | None] = lambda: None,
        timeout: int = TIMEOUT_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._worker_id = worker_id
        self._daemon = Daemon(timeout)
        self._looked_at = Daemon(min(timeout, LISTING_TIMEOUT_SECONDS))
        self._images = Images(self._daemon, patience)
        self._looks = InspectCache()
        self._root: Path | None = None
        self._root_asked_at = float("-inf")

    def instances(self) -> list[Instance]:
        with self._looked_at.asked() as api:
            listed = api.containers(all=True)
            own = self._looks.take(list(filter(_is_ours, listed)), partial(_own, api), time.monotonic())
            self._learn_root(api, time.monotonic())
        return [*own, *(_foreign(container) for container in listed if not _is_ours(container))]

    def start(self, spec: RunSpec) -> Instance:
        with self._daemon.asked() as api:
            found = self._created_or_adopted(api, spec)
            if found["State"]["Status"] == "created":
                _run(api, found["Id"])
            return _inspected(api.inspect_container(found["Id"]))

    def stop(self, instance_id: str, grace: float) -> None:
        with self._daemon.asked() as api, suppress(NotFound):
            if _ID.fullmatch(instance_id):
                api.stop(instance_id, timeout=math.ceil(grace))

    def remove(self, instance_id: str) -> None:
        with self._daemon.asked() as api, suppress(NotFound):
            if _ID.fullmatch(instance_id):
                api.remove_container(instance_id, v=True)

    def logs(self, instance_id: str, lines: int, since: str | None) -> LogChunk:
        with self._daemon.asked() as api:
            try:
                api.inspect_container(instance_id if _ID.fullmatch(instance_id) else "-")
            except NotFound as error:
                raise EngineError("CONTAINER_NOT_FOUND", f"no container {instance_id[:80]} here") from error
            return read_log(api, instance_id, lines, since)

    def has_image(self, reference: str) -> bool:
        return self._images.has(reference)

    def images(self) -> list[Image]:
        return self._images.all()

    def offer(self, reference: str) -> Offer | None:
        return self._images.offer(reference)

    def pull(self, reference: str, on_progress: Callable[[Progress], None], cancelled: Event) -> Pulled:
        return self._images.pull(reference, on_progress, cancelled)

    def delete_image(self, reference: str, force: bool) -> list[str]:
        return self._images.delete(reference, force)

    def prune(self, *, images: frozenset[str], containers: bool, volumes: bool, dry_run: bool) -> Pruned:
        worker_id = self._worker_id()
        return prune(self._daemon, worker_id, images=images, containers=containers, volumes=volumes, dry_run=dry_run)

    def root(self) -> Path:
        """The daemon's folder; where it usually is, until the daemon was first looked at. Never asks it."""
        return self._root or DEFAULT_ROOT

    def _learn_root(self, api: docker.APIClient, now: float) -> None:
        """`docker info` fails or takes long on hosts that list their containers well, so nothing depends on it."""
        if self._root is None and now - self._root_asked_at >= ROOT_REFRESH_SECONDS:
            self._root_asked_at = now
            with suppress(APIError, requests.RequestException, KeyError):
                self._root = Path(api.info()["DockerRootDir"])

    def _created_or_adopted(self, api: docker.APIClient, spec: RunSpec) -> dict[str, Any]:
        """Docker takes the name before it shows the container, and gives it back after it: so both are tried again."""
        end = time.monotonic() + NAME_SECONDS
        while True:
            found = self._created(api, spec) or self._adopted(api, spec)
            if found is not None:
                return found
            if time.monotonic() > end:
                raise EngineError("CONTAINER_FAILED", f"the name {spec.name} is taken, and no container has it")
            time.sleep(0.05)

    def _created(self, api: docker.APIClient, spec: RunSpec) -> dict[str, Any] | None:
        """A container made for `spec`, not yet running; None where its name is taken."""
        assert spec.image is not None, "a spec for an engine with images has one"
        _make_caches(spec)
        if spec.host_network and self._adopted(api, spec) is None:
            ports.check_port(spec.bind, spec.port)  # as Docker does for a port that it publishes
        try:
            made = api.create_container(
                checked(spec.image),
                command=command_line(_entrypoint(api, spec), spec.arguments),
                entrypoint=list(spec.entrypoint) or None,
                name=spec.name,
                labels=labels.write(spec),
                environment=_environment(spec),
                ports=None if spec.host_network else [spec.port],
                host_config=_host_config(api, spec),
            )
        except NotFound as error:
            raise EngineError("IMAGE_NOT_FOUND", f"no image {spec.image} here: pull it first") from error
        except APIError as error:
            if error.status_code == 409:
                return None
            raise
        found: dict[str, Any] = api.inspect_container(made["Id"])
        return found

    def _adopted(self, api: docker.APIClient, spec: RunSpec) -> dict[str, Any] | None:
        """The container that has the name of `spec`, if any. Raises EngineError CONTAINER_FAILED if it is not ours."""
        try:
            found: dict[str, Any] = api.inspect_container(spec.name)
        except NotFound:
            return None
        if labels.read(found["Config"]["Labels"] or {}).worker_id != spec.worker_id:
            raise EngineError(
                "CONTAINER_FAILED", f"the name {spec.name} is taken by a container that is not this worker's"
            )
        return found


def _make_caches(spec: RunSpec) -> None:
    """Docker mounts no folder that is not there, and a cache begins so."""
    for mount in spec.mounts:
        if not mount.read_only and not mount.source.exists():
            try:
                mount.source.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                code = "DISK_FULL" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "CACHE_UNUSABLE"
                advice = f"make it on the host, for {owner_name(os.geteuid())}, or give the agent another HF_HOME"
                raise EngineError(code, f"{mount.source} cannot be made: {error.strerror}: {advice}") from error


def _run(api: docker.APIClient, container_id: str) -> None:
    """Start the container, or remove it; one that is left is removed by the next plan. One that runs is no failure."""
    try:
        api.start(container_id)
    except BaseException:  # also if the agent ends: a start that failed leaves nothing
        try:
            api.remove_container(container_id, v=True, force=True)
        except APIError as error:  # the first failure is the one to tell of the deployment
            log.warning("container %s could not start, and is not removed yet: %s", container_id[:12], error)
        raise


def _entrypoint(api: docker.APIClient, spec: RunSpec) -> list[str]:
    """What the arguments are given to. Raises NotFound without the image."""
    assert spec.image is not None, "a spec for an engine with images has one"
    found: dict[str, Any] = api.inspect_image(checked(spec.image))  # type: ignore[no-untyped-call]
    return list(spec.entrypoint) or (found.get("Config") or {}).get("Entrypoint") or []


def _host_config(api: docker.APIClient, spec: RunSpec) -> dict[str, Any]:
    """No restart policy, since the agent decides; no privileges; of the host, what the spec mounts, and its network."""
    # By their ids, since a count means the first so many. With none requested, see _environment.
    gpus = [DeviceRequest(device_ids=list(spec.device_ids), capabilities=[["gpu"]])] if spec.gpus else None
    config: dict[str, Any] = api.create_host_config(
        port_bindings=None if spec.host_network else {spec.port: (spec.bind, spec.port)},
        network_mode="host" if spec.host_network else None,
        mounts=[
            Mount(mount.target, str(mount.source), type="bind", read_only=mount.read_only) for mount in spec.mounts
        ],
        device_requests=gpus,
        shm_size=SHM_BYTES,
        log_config=LogConfig(type=LogConfig.types.JSON, config=LOG_LIMITS),
        security_opt=["no-new-privileges"],
        init=True,
    )
    return config


def _environment(spec: RunSpec) -> dict[str, str]:
    """Where the default runtime is NVIDIA's, an image gets all GPUs unless it is told that there are none."""
    return dict(spec.env) if spec.gpus else {**spec.env, "NVIDIA_VISIBLE_DEVICES": "void"}


def _is_ours(listed: dict[str, Any]) -> bool:
    return labels.read(listed.get("Labels") or {}).deployment_id is not None


def _own(api: docker.APIClient, listed: dict[str, Any]) -> Instance | None:
    """With exit code and pid, which a list does not have; None if it is gone meanwhile."""
    try:
        return _inspected(api.inspect_container(listed["Id"]))
    except NotFound:
        return None


def _foreign(listed: dict[str, Any]) -> Instance:
    return Instance(
        id=listed["Id"],
        name=(listed.get("Names") or [""])[0].removeprefix("/"),
        image=listed["Image"],
        state=_STATES.get(listed["State"], "exited"),
        created=listed["Created"],
        image_id=listed.get("ImageID"),
    )


def _inspected(found: dict[str, Any]) -> Instance:
    owner, state = labels.read(found["Config"]["Labels"] or {}), found["State"]
    status = _STATES.get(state["Status"], "exited")
    return Instance(
        id=found["Id"],
        name=found["Name"].removeprefix("/"),
        image=found["Config"]["Image"],
        state=status,
        worker_id=owner.worker_id,
        deployment_id=owner.deployment_id,
        generation=owner.generation,
        model=owner.model,
        bind=owner.bind,
        port=owner.port,
        pid=state["Pid"] or None,
        exit_code=state["ExitCode"] if status == "exited" else None,
        oom_killed=state["OOMKilled"],
        created=parse_time(found["Created"]) / 1e9,
        image_id=found["Image"],
        gpus=_gpus(found),
    )


def _gpus(found: dict[str, Any]) -> tuple[str, ...]:
    """The devices that the container was created with, which Docker stores also for agents that wrote no label."""
    asked = found["HostConfig"].get("DeviceRequests") or []
    return tuple(device for request in asked for device in request.get("DeviceIDs") or [])
