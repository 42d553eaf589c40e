"""Images: what is there, pulled and deleted."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Any

import docker
from docker import auth
from docker.utils import parse_repository_tag
from requests import Response

from agent import labels
from agent.engines import Cancelled, EngineError
from agent.engines.docker.daemon import Daemon, NotFound, failure
from agent.engines.docker.progress import PullProgress
from chalicelib.contract.messages import Image, Progress, Pulled

SILENCE_SECONDS = 300.0
"""A pull that says nothing for this long is given up. The daemon itself takes 150 s to give up on a dead registry."""

CANCEL_SECONDS = 0.2
"""How soon a pull notices that nobody wants it any more."""

_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:[/:@][A-Za-z0-9_][A-Za-z0-9._-]*)*", re.ASCII)


class Images:
    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

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
        return [_image(each, sorted(users.get(each["Id"], ()))) for each in images]

    def pull(self, reference: str, on_progress: Callable[[Progress], None], cancelled: Event) -> Pulled:
        progress = PullProgress()
        with self._daemon.asked("REGISTRY_UNREACHABLE") as api:
            response = _request_pull(api, checked(reference))
            with _cut_when(cancelled, response):
                for event in _events(response):
                    if "error" in event:
                        raise failure(str(event["error"]), "REGISTRY_UNREACHABLE")
                    if news := progress.see(event):
                        on_progress(news)
            try:
                found = api.inspect_image(reference)  # type: ignore[no-untyped-call]  # the stubs lack it
            except NotFound as error:  # the daemon was restarted: its stream just ends
                raise EngineError("REGISTRY_UNREACHABLE", f"the pull of {reference} was cut off") from error
        return Pulled(id=found["Id"], tags=(found.get("RepoTags") or [reference])[:64])

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
        return [name for each in gone or () for name in each.values()]


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
        created=f"{datetime.fromtimestamp(found['Created'], UTC):%Y-%m-%dT%H:%M:%SZ}",
        used_by=used_by[:256],
    )


def _request_pull(api: docker.APIClient, reference: str) -> Response:
    """As `api.pull` does, which has no read timeout."""
    repository, tag = parse_repository_tag(reference)
    registry, _ = auth.resolve_repository_name(repository)
    header = auth.get_config_header(api, registry)
    response = api.post(
        f"{api.base_url}/v{api.api_version}/images/create",
        params={"fromImage": repository, "tag": tag or "latest"},
        headers={"X-Registry-Auth": header} if header else {},
        stream=True,
        timeout=SILENCE_SECONDS,
    )
    if not response.ok:
        with response:
            raise failure(_message(response), "REGISTRY_UNREACHABLE")
    return response


def _message(response: Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:1000]


def _events(response: Response) -> Iterator[dict[str, Any]]:
    """A failure in mid-pull raises nothing: the stream ends with an event that has `error`."""
    for line in response.iter_lines(chunk_size=None):
        if line:
            yield json.loads(line)


@contextmanager
def _cut_when(cancelled: Event, response: Response) -> Iterator[None]:
    """Raises Cancelled soon after the event is set, even while the daemon says nothing.

    Only shutting the socket down wakes another thread's read; the daemon then gives up the pull as well.
    """
    done = Event()

    def watch() -> None:
        while not done.wait(CANCEL_SECONDS):
            if cancelled.is_set():
                with suppress(OSError):  # the read has ended by itself
                    connection.shutdown(socket.SHUT_RDWR)
                return

    assert response.raw.connection is not None, "a stream that was just begun has its connection"
    connection = response.raw.connection.sock
    Thread(target=watch, name="pull-watch", daemon=True).start()
    try:
        yield
    except Exception as error:  # whatever a read on a socket that was shut down raises
        if cancelled.is_set() and not isinstance(error, EngineError):
            raise Cancelled from error
        raise
    finally:
        done.set()
        response.close()
    if cancelled.is_set():
        raise Cancelled
