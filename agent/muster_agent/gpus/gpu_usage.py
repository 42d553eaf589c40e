"""Whose memory a GPU's memory is: what preflight wants to know before a model is given that GPU."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from muster_agent.engines.base import Instance
from muster_agent.gpus.quantization import Capability


@dataclass(frozen=True)
class Holder:
    """A process with memory on a GPU; `container` is the id of the container that it is in, if it is in one.

    `memory` is in bytes, None where the driver does not report it.
    """

    pid: int
    memory: int | None
    name: str = ""
    container: str | None = None

    def describe(self, there: Collection[Instance]) -> str:
        """By process and container, the latter by name where it is one of those that are `there`."""
        names = {instance.id: instance.name for instance in there}
        inside = f" in container {names.get(self.container, self.container[:12])}" if self.container else ""
        return f"{self.name or 'a process'} (pid {self.pid}){inside}"

    def belongs_to(self, instances: Collection[Instance]) -> bool:
        return any(self.pid == instance.pid or self.container == instance.id for instance in instances)


@dataclass(frozen=True)
class Gpu:
    """Sizes in bytes, None where they are unknown. `holders` is empty where the driver does not list them. `shared`: it
    has no memory of its own, and takes the host's.

    `position` is NVML's own index at this moment, and the one that CUDA counts by. `lost` is why the GPU cannot be
    used: it does not answer, or is not there. `capability` is None where the driver does not tell it.
    """

    index: int
    total: int | None
    used: int | None
    holders: tuple[Holder, ...] = ()
    uuid: str | None = None
    position: int | None = None
    lost: str | None = None
    shared: bool = False
    capability: Capability | None = None

    @property
    def ids(self) -> set[str]:
        """By which an engine is asked for it."""
        return {self.uuid or str(self.index if self.position is None else self.position)}

    def users(self, there: Collection[Instance], worker_id: str, deployment_id: str) -> list[Instance]:
        """The instances that run and were given it, whichever worker's they are, but for the deployment's own: those a
        start replaces."""
        own = (worker_id, deployment_id)
        others = (
            instance
            for instance in there
            if instance.deployment_id and (instance.worker_id, instance.deployment_id) != own
        )
        return [instance for instance in others if instance.state == "running" and self.ids & set(instance.gpus or ())]

    def others(self, own: Collection[Instance]) -> list[Holder]:
        return [holder for holder in self.holders if not holder.belongs_to(own)]

    def used_by_others(self, own: Collection[Instance]) -> int | None:
        """Without what `own` hold, since that is given back before it is taken again; None where that is unknown."""
        if self.used is None:
            return None
        if not self.holders:
            return 0 if any(instance.state == "running" for instance in own) else self.used
        return self.used - self.held_by(own)

    def held_by(self, own: Collection[Instance]) -> int:
        """As far as the driver tells it."""
        return sum(holder.memory or 0 for holder in self.holders if holder.belongs_to(own))
