"""Removes what nothing uses, and never what Muster neither made nor pulled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import docker

from muster.api.messages import Kept, Pruned
from muster_agent.engines import labels
from muster_agent.engines.docker.daemon import APIError, Daemon, NotFound

_EXITED = ("exited", "dead")


@dataclass(frozen=True)
class _Candidate:
    """`kept_because` is why the candidate has to stay, or None; `size` in bytes is what it alone takes."""

    name: str
    size: int
    kept_because: str | None
    remove: Callable[[], object]


def prune(
    daemon: Daemon, worker_id: str | None, *, images: frozenset[str], containers: bool, volumes: bool, dry_run: bool
) -> Pruned:
    """Remove what nothing uses, and return the bytes that it took and what was kept:

    - the images with the ids `images`;
    - the exited containers and the volumes with the label of `worker_id`, or of any worker if that is None.

    A dry run removes nothing. Raises EngineError DOCKER_UNAVAILABLE.
    """
    with daemon.asked() as api:
        candidates = _candidates(api, worker_id, images, containers, volumes)
        unused = [candidate for candidate in candidates if candidate.kept_because is None]
        refusals = {} if dry_run else {candidate: _remove(candidate) for candidate in unused}
    reasons = {candidate: candidate.kept_because or refusals.get(candidate) for candidate in candidates}
    reclaimed = sum(candidate.size for candidate, reason in reasons.items() if reason is None)
    kept = [
        Kept(what=candidate.name[:512], bytes=candidate.size, why=reason[:512])
        for candidate, reason in reasons.items()
        if reason is not None
    ]
    return Pruned(space_reclaimed=reclaimed, kept=kept)


def _candidates(
    api: docker.APIClient, worker_id: str | None, images: frozenset[str], containers: bool, volumes: bool
) -> list[_Candidate]:
    """Everything that was asked for, in use or not. Containers are the first: an exited one keeps its image."""
    usage = api.df()
    all_containers, all_volumes, all_images = (usage[kind] or [] for kind in ("Containers", "Volumes", "Images"))
    ours = [container for container in all_containers if containers and _is_ours(container, worker_id)]
    to_remove = {container["Id"] for container in ours if container["State"] in _EXITED}
    users = {container["ImageID"]: _name(container) for container in all_containers if container["Id"] not in to_remove}
    return [
        *(_container(api, container) for container in ours),
        *(_volume(api, volume) for volume in all_volumes if volumes and _is_ours(volume, worker_id)),
        *(_image(api, image, users) for image in all_images if image["Id"] in images),
    ]


def _container(api: docker.APIClient, found: dict[str, Any]) -> _Candidate:
    # One that is `created` is about to run, and whoever made it removes it if it does not.
    why = None if found["State"] in _EXITED else f"it is {found['State']}"
    return _Candidate(_name(found), found.get("SizeRw") or 0, why, partial(api.remove_container, found["Id"], v=True))


def _volume(api: docker.APIClient, found: dict[str, Any]) -> _Candidate:
    usage = found.get("UsageData") or {}
    why = "a container uses it" if usage.get("RefCount", 1) else None
    return _Candidate(found["Name"], max(usage.get("Size", 0), 0), why, partial(api.remove_volume, found["Name"]))


def _image(api: docker.APIClient, found: dict[str, Any], users: dict[str, str]) -> _Candidate:
    user = users.get(found["Id"])
    shared = max(found.get("SharedSize", 0), 0)  # -1: not counted
    tags = found.get("RepoTags") or [found["Id"]]
    why = f"container {user} uses it" if user else None
    return _Candidate(tags[0], found["Size"] - shared, why, partial(_remove_image, api, found["Id"], tags))


def _remove_image(api: docker.APIClient, image_id: str, tags: list[str]) -> None:
    """Tag by tag: Docker removes by id only what has one tag, or by force, which does not stop at what is in use."""
    for tag in tags:
        api.remove_image(image_id if tag == "<none>:<none>" else tag)


def _remove(candidate: _Candidate) -> str | None:
    """Remove the candidate. Docker's reason to keep it; None if it is gone, also if something else removed it."""
    try:
        candidate.remove()
    except NotFound:
        return None
    except APIError as error:
        return str(error.explanation or error)
    return None


def _is_ours(found: dict[str, Any], worker_id: str | None) -> bool:
    owner = (found.get("Labels") or {}).get(labels.WORKER)
    return owner is not None and worker_id in (None, owner)


def _name(found: dict[str, Any]) -> str:
    return str((found.get("Names") or [found["Id"]])[0]).removeprefix("/")
