"""What may be thrown away: nothing that Muster did not make or fetch, and nothing that is in use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import docker

from muster.api.messages import Kept, Pruned
from muster_agent.engines import labels
from muster_agent.engines.docker.daemon import APIError, Daemon, NotFound

_DEAD = ("exited", "dead")


@dataclass(frozen=True)
class _Item:
    """`why` it has to stay, or None; `size` in bytes is what it alone takes."""

    what: str
    size: int
    why: str | None
    remove: Callable[[], object]


def prune(
    daemon: Daemon, worker_id: str | None, *, images: frozenset[str], containers: bool, volumes: bool, dry_run: bool
) -> Pruned:
    """Of `images` those that nothing uses; of what carries the label of `worker_id` (of any worker, where that is None)
    the dead containers and the volumes that no container uses. Raises EngineError DOCKER_UNAVAILABLE.
    """
    reclaimed, kept = 0, []
    with daemon.asked() as api:
        usage = api.df()
        every = usage["Containers"] or []
        ours = [each for each in every if containers and _is_ours(each, worker_id)]
        removable = [each["Id"] for each in ours if each["State"] in _DEAD]
        in_use = {each["ImageID"]: _name(each) for each in every if each["Id"] not in removable}
        # Containers first: a dead one keeps its image.
        items = [_container(api, each) for each in ours]
        items += [_volume(api, each) for each in usage["Volumes"] or () if volumes and _is_ours(each, worker_id)]
        items += [_image(api, each, in_use) for each in usage["Images"] or () if each["Id"] in images]
        for item in items:
            why = item.why or (None if dry_run else _why_not(item.remove))
            if why is None:
                reclaimed += item.size
            else:
                kept.append(Kept(what=item.what[:512], bytes=item.size, why=why[:512]))
    return Pruned(space_reclaimed=reclaimed, kept=kept)


def _container(api: docker.APIClient, found: dict[str, Any]) -> _Item:
    # One that is `created` is about to run, and whoever made it removes it if it does not.
    why = None if found["State"] in _DEAD else f"it is {found['State']}"
    return _Item(_name(found), found.get("SizeRw") or 0, why, partial(api.remove_container, found["Id"], v=True))


def _volume(api: docker.APIClient, found: dict[str, Any]) -> _Item:
    usage = found.get("UsageData") or {}
    why = "a container uses it" if usage.get("RefCount", 1) else None
    return _Item(found["Name"], max(usage.get("Size", 0), 0), why, partial(api.remove_volume, found["Name"]))


def _image(api: docker.APIClient, found: dict[str, Any], in_use: dict[str, str]) -> _Item:
    user = in_use.get(found["Id"])
    shared = max(found.get("SharedSize", 0), 0)  # -1: not counted
    tags = found.get("RepoTags") or [found["Id"]]
    why = f"container {user} uses it" if user else None
    return _Item(tags[0], found["Size"] - shared, why, partial(_remove_image, api, found["Id"], tags))


def _remove_image(api: docker.APIClient, image_id: str, tags: list[str]) -> None:
    """Tag by tag: Docker removes by id only what has one tag, or by force, which does not stop at what is in use."""
    for tag in tags:
        api.remove_image(image_id if tag == "<none>:<none>" else tag)


def _why_not(remove: Callable[[], object]) -> str | None:
    """Removes; None if it is gone then, whoever removed it, else Docker's reason to keep it."""
    try:
        remove()
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
