"""The folders that fill up, and how full their disks are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from muster.api.messages import Disk, DiskPath
from muster_agent.backends.policy import HostPolicy
from muster_agent.engines.base import Engine
from muster_agent.host import facts


class Place(NamedTuple):
    path: Path
    purpose: str


def places(engine: Engine, state_dir: Path, policy: HostPolicy) -> list[Place]:
    """The engine's first: its disk is the one that fills up. The engine knows its own once it was looked at."""
    found = [Place(engine.root(), "images" if engine.uses_images else "engine"), Place(state_dir, "state")]
    found += [Place(policy.hub_cache, "models")] if policy.hub_cache else []
    found += [Place(policy.model_root, "weights")] if policy.model_root else []
    return found


def disk_usage(places: Sequence[Place]) -> Disk:
    """The first place's disk, with the figures of every place. Raises OSError."""
    usage = facts.disk(places[0].path)
    usage.paths = [_figures(place) for place in places]
    return usage


def _figures(place: Place) -> DiskPath:
    usage = facts.disk(place.path)
    return DiskPath(str(place.path)[:4096], place.purpose, usage.total, usage.used, usage.free)


def gist(disk: Disk | None) -> object:
    """What of the paths is worth a report: to a percent, since every log line moves a byte."""
    paths = (disk.paths if disk else None) or []
    return [(entry.path, entry.purpose, entry.total, 100 * entry.used // max(entry.total, 1)) for entry in paths]
