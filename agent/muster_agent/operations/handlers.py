"""What each operation does: takes its command, returns the struct that the operator is shown."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from threading import Event

from msgspec import Struct, structs

from muster.api import messages as m
from muster_agent.backends.hub_cache import cached_models, delete_model
from muster_agent.backends.policy import HostPolicy, named
from muster_agent.engines.base import Engine, EngineError, Instance, LogChunk
from muster_agent.gpus.devices import Devices
from muster_agent.logs.archive import Archive
from muster_agent.logs.redaction import Secrets
from muster_agent.logs.tail import bounded, tail
from muster_agent.runner.instances import InstanceCache
from muster_agent.runner.manager import DeploymentManager
from muster_agent.runner.pulls import Pulls
from muster_agent.state.operations import OperationsTable

STOP_GRACE = 30.0

OnProgress = Callable[[m.Progress], None]


@dataclass(frozen=True)
class Handlers:
    """`disk` samples the disk that fills up."""

    engine: Engine
    instance_cache: InstanceCache
    manager: DeploymentManager
    archive: Archive
    pulls: Pulls
    operations_table: OperationsTable
    worker_id: str
    past_workers: Collection[str]
    policy: HostPolicy
    devices: Devices
    disk: Callable[[], m.Disk]
    clock: Callable[[], float]
    secrets: Secrets

    def run(self, command: m.OperationCommand, on_progress: OnProgress, cancelled: Event) -> Struct:
        """Raises EngineError with the code that the operator is shown; Cancelled when the agent ends."""
        match command:
            case m.PullImage():
                return self.pulls.pull(command.image, on_progress, cancelled)
            case m.DeleteImage():
                return self._delete_image(command)
            case m.ListImages():
                return m.Images(self._images())
            case m.ListContainers():
                return m.Containers([self._shown(each) for each in self.engine.instances()], self._gpu_usage())
            case m.ListModels():
                return m.Models(cached_models(self.policy.hub_cache) if self.policy.hub_cache else [])
            case m.DeleteModel():
                return self._delete_model(command)
            case m.ContainerLogs():
                return self._logs(command)
            case m.StopContainer():
                return self._stop_container(command)
            case m.DiskUsage():
                return self.disk()
            case m.Prune():
                return self._prune(command)

    # Containers

    def _gpu_usage(self) -> list[m.GpuUsage]:
        return self.devices.look(closely=True).usage

    def _shown(self, instance: Instance) -> m.Container:
        return m.Container(
            id=instance.id,
            name=instance.name[:256],
            image=instance.image[:512],
            image_id=instance.image_id,
            state=instance.state,
            ours=self._is_ours(instance),
            deployment_id=instance.deployment_id,
            generation=instance.generation,
            pid=instance.pid,
            created=_rfc3339(instance.created),
        )

    def _is_ours(self, instance: Instance) -> bool:
        return instance.worker_id in (self.worker_id, *self.past_workers) and instance.deployment_id is not None

    def _find(self, key: str) -> Instance | None:
        """By id, name or deployment (its newest), or by the unique beginning of an id."""
        instances = self.engine.instances()
        exact = [each for each in instances if key in (each.id, each.name)]
        of_deployment = [each for each in instances if key == each.deployment_id and self._is_ours(each)]
        begun = [each for each in instances if each.id.startswith(key)]
        if exact:
            return exact[0]
        if of_deployment:
            return max(of_deployment, key=lambda each: (each.generation or 0, each.created))
        return begun[0] if len(begun) == 1 else None

    def _owned(self, instance: Instance | None, key: str) -> Instance:
        if instance is None:
            raise EngineError("CONTAINER_NOT_FOUND", f"no container {key} on this worker")
        if not self._is_ours(instance):
            raise EngineError("NOT_OURS", f"{key} was not started by this worker's agent, which leaves it alone")
        return instance

    def _logs(self, command: m.ContainerLogs) -> m.Logs:
        instance = self._find(command.container_id)
        saved = self.archive.find(command.container_id) if instance is None else None
        if saved is not None:
            return self._bounded(tail(saved, command.lines, command.since))
        owned = self._owned(instance, command.container_id)
        return self._bounded(self.engine.logs(owned.id, command.lines, command.since))

    def _bounded(self, log: LogChunk) -> m.Logs:
        return bounded(replace(log, text=self.secrets.hide(log.text)))

    def _stop_container(self, command: m.StopContainer) -> m.Container:
        instance = self._owned(self._find(command.container_id), command.container_id)
        attended = self.manager.expect_end(instance)
        self.engine.stop(instance.id, STOP_GRACE)
        if not attended:
            self.archive.save_and_remove(self.engine, instance, self.clock())
        self.instance_cache.changed()
        return self._shown(replace(instance, state="exited", pid=None))

    # Images and weights

    def _images(self) -> list[m.Image]:
        """Also those are users that have no container just now: they wait to start again."""
        wanted = [(each.image or self.policy.default_image, each.deployment_id) for each in self.manager.wanted()]

        def used_by(image: m.Image) -> list[str]:
            return sorted({*image.used_by, *(user for name, user in wanted if name in (image.id, *image.tags))})

        return [structs.replace(each, used_by=used_by(each)) for each in self.engine.images()]

    def _delete_image(self, command: m.DeleteImage) -> m.Deleted:
        self._refuse_others_image(command.image_id)
        user = self._images_in_use().get(command.image_id)
        if user is not None and not command.force:
            raise EngineError("IMAGE_IN_USE", f"deployment {user} uses {command.image_id}")
        deleted = self.engine.delete_image(command.image_id, command.force)
        self._freed()
        return m.Deleted(deleted)

    def _refuse_others_image(self, reference: str) -> None:
        """An image that this agent neither pulled nor may run is somebody else's, and may be nowhere but here."""
        if not self.engine.uses_images:
            return
        image = named(self.engine.images(), reference)
        if image is None:
            raise EngineError("IMAGE_NOT_FOUND", f"no image {reference[:300]} here")
        ours = image.id in self.operations_table.pulled() or any(
            map(self.policy.allows_image, (*image.tags, *image.digests))
        )
        if not ours:
            raise EngineError("REFUSED_BY_HOST", f"image: {self.policy.told_not_allowed(reference)}")

    def _delete_model(self, command: m.DeleteModel) -> m.Deleted:
        # Other workers of this host share the cache.
        users = [(each.model, each.deployment_id) for each in self.engine.instances() if each.state == "running"]
        users += [(each.model, each.deployment_id) for each in self.manager.wanted()]
        user = next((user for model, user in users if model == command.model), None)
        if user is not None:
            raise EngineError("MODEL_IN_USE", f"deployment {user} uses {command.model}: stop it first")
        if self.policy.hub_cache is None:
            raise EngineError("MODEL_NOT_FOUND", "this worker has no cache of weights")
        deleted = delete_model(self.policy.hub_cache, command.model)
        self._freed()
        return deleted

    def _prune(self, command: m.Prune) -> m.Pruned:
        if command.containers and not command.dry_run:
            self._keep_logs()
        ours = self.operations_table.pulled() if command.images else frozenset()
        in_use = self._images_in_use()
        pruned = self.engine.prune(
            images=frozenset(each for each in ours if each not in in_use),
            containers=command.containers,
            volumes=command.volumes,
            dry_run=command.dry_run,
        )
        if not command.dry_run:
            self._freed()
        kept = [
            m.Kept(image.id, image.size, f"deployment {in_use[image.id]} uses it")
            for image in (self.engine.images() if ours & in_use.keys() else [])
            if image.id in ours and image.id in in_use
        ]
        return m.Pruned(pruned.space_reclaimed, [*pruned.kept, *kept])

    def _keep_logs(self) -> None:
        """Of the dead that are about to be pruned: their crash may still be asked about."""
        for each in self.engine.instances():
            if self._is_ours(each) and each.state == "exited":
                self.archive.try_to_save(self.engine, each, self.clock())

    def _images_in_use(self) -> dict[str, str]:
        """Every name of every image that a live deployment runs, with that deployment: ids, tags, the default's too."""
        users = {each.image or self.policy.default_image: each.deployment_id for each in self.manager.wanted()}
        for image in self.engine.images():
            names = (image.id, *image.tags)
            user = next((users[name] for name in names if name in users), None)
            if user is not None:
                users.update(dict.fromkeys(names, user))
        return users

    def _freed(self) -> None:
        self.instance_cache.images_changed()
        self.instance_cache.changed()


def _rfc3339(seconds: float) -> str | None:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z") if seconds else None
