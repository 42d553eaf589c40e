"""From what is wanted of one deployment and what is there of it, to the steps between. Pure: nothing happens here.

The promise is at most one instance per deployment at any instant, so whatever is not the wanted instance is gone
before the wanted one is started. While its image is fetched, or it waits, the old one still serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from muster.api.messages import Deploy, Stop
from muster_agent.engines.base import Instance


@dataclass(frozen=True)
class Fetch:
    """Pull the image."""

    image: str


@dataclass(frozen=True)
class Terminate:
    """End a running instance, with grace."""

    instance_id: str


@dataclass(frozen=True)
class Remove:
    """Keep the log of a dead instance, then remove it: its name may be wanted."""

    instance_id: str


@dataclass(frozen=True)
class Start:
    generation: int


Step = Fetch | Terminate | Remove | Start


def of_deployment(deployment_id: str, worker_id: str, instances: Sequence[Instance]) -> list[Instance]:
    """The deployment's own instances of this worker; no other is any of the agent's business."""
    return [
        instance
        for instance in instances
        if instance.deployment_id == deployment_id and instance.worker_id == worker_id
    ]


def wanted(intent: Deploy | Stop, instances: Sequence[Instance]) -> Instance | None:
    """The running instance that is what `intent` asks for."""
    if isinstance(intent, Stop):
        return None
    running = (
        instance for instance in instances if instance.state == "running" and instance.generation == intent.generation
    )
    return min(running, key=lambda instance: (instance.created, instance.id), default=None)


def outdated(intent: Deploy | Stop, instances: Sequence[Instance]) -> bool:
    """Whether something newer than `intent` is there: then the intent is old news, and everything is left alone."""
    return any((instance.generation or 0) > intent.generation for instance in instances)


def plan(
    intent: Deploy | Stop, instances: Sequence[Instance], *, may_start: bool = True, missing_image: str | None = None
) -> tuple[Step, ...]:
    """The steps from `instances` (those `of_deployment`) to `intent`; none when they are what it asks for.

    Without `may_start` it waits, and an older instance goes on serving: it is ended for the one that takes its place.
    """
    if outdated(intent, instances):
        return ()
    keep = wanted(intent, instances)
    others = [instance for instance in instances if keep is None or instance.id != keep.id]
    starts = isinstance(intent, Deploy) and keep is None and may_start
    steps: list[Step] = []
    if starts and missing_image is not None:
        steps.append(Fetch(missing_image))
    waits = isinstance(intent, Deploy) and keep is None and not may_start
    ends = [instance for instance in others if not (waits and instance.state == "running")]
    steps += [Terminate(instance.id) for instance in ends if instance.state == "running"]
    steps += [Remove(instance.id) for instance in ends]
    if starts:
        steps.append(Start(intent.generation))
    return tuple(steps)
