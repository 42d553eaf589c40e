"""Images: what is there, pulled and deleted."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import datetime, timezone
from functools import partial
from itertools import takewhile
from pathlib import Path
from threading import Event
from typing import Any

import docker
from docker import auth
from docker.credentials import StoreError
from docker.errors import DockerException
from docker.utils import parse_repository_tag
from requests import Response

from muster.api.messages import Image, Progress, Pulled
from muster_agent.engines import labels
from muster_agent.engines.base import Cancelled, EngineError, Offer
from muster_agent.engines.docker.daemon import Daemon, NotFound, failure
from muster_agent.engines.docker.progress import PullProgress
from muster_agent.engines.docker.registry import Described, Login, Name, Unheard, describe
from muster_agent.engines.docker.stream import ENDED, Stream

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 300.0
"""A pull of which nothing grew for so long is given up. The daemon itself takes 150 s to give up on a dead registry."""

ABANDONED_READ_SECONDS = 60.0
"""Seconds beyond that patience after which a read of a pull that nobody waits for any more ends by itself."""

DESCRIBED_SECONDS = 600.0
"""For so long what a registry said of an image counts."""

MAX_COMPARED_IMAGES = 100
"""Of the images that are here so many, the newest, are looked at for layers that a pull need not fetch."""

BINFMT = Path("/proc/sys/fs/binfmt_misc")
"""Where Linux lists the programs that run those of other architectures."""

POLL_SECONDS = 0.2
"""How soon a pull notices that nobody wants it any more."""

_STALLED = "The pull stood still and was given up: check the worker's line to the registry, then try again."

_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:[/:@][A-Za-z0-9_][A-Za-z0-9._-]*)*", re.ASCII)


class Images:
    """`patience` in seconds is for a pull that stands still."""

    def __init__(self, daemon: Daemon, patience: float = PATIENCE_SECONDS) -> None:
        self._daemon = daemon
        self._patience = patience
        self._described: dict[str, tuple[float, Described]] = {}

    def has(self, reference: str) -> bool:
        with self._daemon.asked() as api:
            try:
                api.inspect_image(checked(reference))  # type: ignore[no-untyped-call]  # the stubs lack it
            except NotFound:
                return False
            return True

    def all(self) -> list[Image]:
        """Each with the deployments whose containers are made from it, dead ones included."""
        with self._daemon.asked() as api:
            containers, images = api.containers(all=True), api.images()
        users: dict[str, set[str]] = {}
        for container in containers:
            if deployment_id := labels.read(container.get("Labels") or {}).deployment_id:
                users.setdefault(container["ImageID"], set()).add(deployment_id)
        return [_image(image, sorted(users.get(image["Id"], ()))) for image in images]

    def offer(self, reference: str) -> Offer | None:
        """What a pull of it would bring; None where its registry does not tell."""
        with self._daemon.asked() as api:
            version = api.version()
            platform = f"{version.get('Os', 'linux')}/{version.get('Arch', '')}"
            found = self._describe(checked(reference), platform)
            if found is None:
                return None
            here = _layers_of(api) if found.layers else []
        layers = found.layers or ()
        fetch = sum(layer.size for layer in layers[_shared([layer.diff_id for layer in layers], here) :])
        is_emulated = len(found.platforms) == 1 and _emulates()
        platforms = (*found.platforms, platform) if is_emulated else found.platforms
        return Offer(reference, platform, platforms, fetch, found.env)

    def _describe(self, reference: str, platform: str) -> Described | None:
        """Asked once in a while: a registry counts each question as a pull."""
        now = time.monotonic()
        asked_at, known = self._described.get(reference, (float("-inf"), None))
        if known is not None and now - asked_at < DESCRIBED_SECONDS:
            return known
        try:
            registry, repository = auth.resolve_repository_name(parse_repository_tag(reference)[0])
            tag = parse_repository_tag(reference)[1] or "latest"
            is_official = registry == auth.INDEX_NAME and "/" not in repository
            name = Name(registry, f"library/{repository}" if is_official else repository, tag)
            found = describe(name, platform, _login(registry))
        except (Unheard, DockerException) as error:
            log.info("the registry of %s does not tell what a pull brings: %s", reference, error)
            return None
        self._described[reference] = now, found
        return found

    def pull(self, reference: str, on_progress: Callable[[Progress], None], cancelled: Event) -> Pulled:
        found = self._pulled(reference, on_progress, cancelled)
        return Pulled(id=found["Id"], tags=(found.get("RepoTags") or [reference])[:64])

    def _pulled(self, reference: str, on_progress: Callable[[Progress], None], cancelled: Event) -> dict[str, Any]:
        progress = PullProgress(time.monotonic())
        registry = _registry(reference)
        with self._daemon.asked("REGISTRY_UNREACHABLE", registry) as api:
            request = partial(_request_pull, api, checked(reference), self._patience + ABANDONED_READ_SECONDS)
            with closing(Stream(request)) as stream:
                while (event := stream.next(POLL_SECONDS)) is not ENDED:
                    if cancelled.is_set():
                        raise Cancelled
                    now = time.monotonic()
                    if event and "error" in event:
                        raise failure(str(event["error"]), "REGISTRY_UNREACHABLE", registry, begun=progress.has_begun)
                    if news := progress.see(event, now) if event else progress.idle(now):
                        on_progress(news)
                    if now - progress.grew_at > self._patience:
                        raise EngineError("PULL_STALLED", f"{_STALLED} Nothing of it came for {self._patience:.0f} s.")
            try:
                found: dict[str, Any] = api.inspect_image(reference)  # type: ignore[no-untyped-call]  # the stubs lack it
            except NotFound as error:  # the daemon was restarted: its stream just ends
                raise EngineError(
                    "REGISTRY_UNREACHABLE", f"The Docker daemon cut off the pull of {reference}."
                ) from error
        return found

    def delete(self, reference: str, force: bool) -> list[str]:
        """The tags and layers that are gone. `force` takes an image from dead containers, never from one that runs."""
        with self._daemon.asked("IMAGE_IN_USE") as api:
            try:
                image_id = api.inspect_image(checked(reference))["Id"]  # type: ignore[no-untyped-call]  # the stubs lack it
                # By force Docker would take the tag even from a running container's image.
                for container in api.containers(all=not force):
                    if container["ImageID"] == image_id:
                        raise EngineError("IMAGE_IN_USE", f"container {container['Names'][0].lstrip('/')} uses it")
                gone = api.remove_image(reference, force=force)
            except NotFound as error:
                raise EngineError("IMAGE_NOT_FOUND", f"no image {reference[:300]} here") from error
        return [name for change in gone or () for name in change.values()]


def checked(reference: str) -> str:
    """`reference`, which becomes part of a path of the daemon's API. Raises EngineError IMAGE_NOT_FOUND."""
    if len(reference) > 512 or not _REFERENCE.fullmatch(reference):
        raise EngineError("IMAGE_NOT_FOUND", f"{reference[:300]!r} is no image reference")
    return reference


def _image(found: dict[str, Any], used_by: list[str]) -> Image:
    return Image(
        id=found["Id"],
        tags=[tag for tag in found.get("RepoTags") or () if tag != "<none>:<none>"][:64],
        size=found["Size"],
        created=f"{datetime.fromtimestamp(found['Created'], timezone.utc):%Y-%m-%dT%H:%M:%SZ}",
        used_by=used_by[:256],
        digests=list(found.get("RepoDigests") or ())[:64],
    )


def _layers_of(api: docker.APIClient) -> list[list[str]]:
    """The layers of each image that is here, from the lowest."""
    found = []
    for image in api.images()[:MAX_COMPARED_IMAGES]:
        with suppress(NotFound):
            inspected = api.inspect_image(image["Id"])  # type: ignore[no-untyped-call]  # the stubs lack it
            found.append(list((inspected.get("RootFS") or {}).get("Layers") or ()))
    return found


def _shared(layers: list[str], here: list[list[str]]) -> int:
    """How many layers need not be fetched: one can be used again where all below it are the same."""
    return max((sum(1 for _ in takewhile(_same, zip(layers, known, strict=False))) for known in here), default=0)


def _same(pair: tuple[str, str]) -> bool:
    return pair[0] == pair[1]


def _emulates() -> bool:
    try:
        return any(entry.name.startswith(("qemu-", "rosetta")) for entry in BINFMT.iterdir())
    except OSError:
        return False


def _registry(reference: str) -> str:
    try:
        name, _ = auth.resolve_repository_name(parse_repository_tag(reference)[0])
    except DockerException:  # it is no reference, which is what the caller is told
        return ""
    return str(name)


def _request_pull(api: docker.APIClient, reference: str, timeout: float) -> Response:
    """As `api.pull` does, which has no read timeout."""
    repository, tag = parse_repository_tag(reference)
    registry, _ = auth.resolve_repository_name(repository)
    response = api.post(
        f"{api.base_url}/v{api.api_version}/images/create",
        params={"fromImage": repository, "tag": tag or "latest"},
        headers=_credentials(registry),
        stream=True,
        timeout=timeout,
    )
    if not response.ok:
        with response:
            raise failure(_message(response), "REGISTRY_UNREACHABLE", registry, begun=False)
    return response


def _credentials(registry: str) -> dict[str, str]:
    found = _authconfig(registry)
    return {"X-Registry-Auth": auth.encode_header(found).decode()} if found else {}


def _login(registry: str) -> Login | None:
    found = _authconfig(registry) or {}
    name, password = found.get("Username") or found.get("username"), found.get("Password") or found.get("password")
    return Login(str(name), str(password)) if name and password else None


def _authconfig(registry: str) -> dict[str, Any] | None:
    """What the owner's Docker config has for this registry, and for no other; read anew, since the owner may have
    logged in meanwhile. A config that cannot be read is as good as none: most images need no credentials.
    """
    try:
        return auth.resolve_authconfig(auth.load_config(), registry) or None
    except (DockerException, StoreError, ValueError, TypeError, AttributeError, OSError) as error:
        # The error may quote the file, so its kind has to do.
        log.warning("the Docker config of the agent's user cannot be used (%s)", type(error).__name__)
        return None


def _message(response: Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:1000]
