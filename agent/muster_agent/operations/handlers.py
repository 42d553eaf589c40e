"""What each operation does: takes its command, returns the struct that the operator is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from threading import Event

from msgspec import Struct, structs

from muster.api import messages as m
from muster_agent.backends.hub_cache import cached_models, delete_model
from muster_agent.backends.policy import named
from muster_agent.engines.base import EngineError, Instance, LogChunk
from muster_agent.logs.tail import bounded, tail
from muster_agent.runner.context import WorkerContext
from muster_agent.runner.manager import DeploymentManager

STOP_GRACE_SECONDS = 30.0

OnProgress = Callable[[m.Progress], None]


class Handlers:
    """Does the operations of a worker, each as its command has it."""

    def __init__(self, context: WorkerContext, manager: DeploymentManager) -> None:
        self._context = context
        self._host = context.host
        self._manager = manager

    def run(self, command: m.OperationCommand, on_progress: OnProgress, cancelled: Event) -> Struct:
        """Raises EngineError with the code that the operator is shown; Cancelled when the agent ends."""
        match command:
            case m.PullImage():
                return self._context.pulls.pull(command.image, on_progress, cancelled)
            case m.DeleteImage():
                return self._delete_image(command)
            case m.ListImages():
                return m.Images(self._images())
            case m.ListContainers():
                containers = [self._container(instance) for instance in self._host.engine.instances()]
                return m.Containers(containers, self._gpu_usage())
            case m.ListModels():
                return m.Models(cached_models(self._host.policy.hub_cache) if self._host.policy.hub_cache else [])
            case m.DeleteModel():
                return self._delete_model(command)
            case m.ContainerLogs():
                return self._logs(command)
            case m.StopContainer():
                return self._stop_container(command)
            case m.DiskUsage():
                return self._host.disk()
            case m.Prune():
                return self._prune(command)

    # Containers

    def _gpu_usage(self) -> list[m.GpuUsage]:
        return self._host.devices.read(closely=True).usage

    def _container(self, instance: Instance) -> m.Container:
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
        return instance.deployment_id is not None and self._context.is_own(instance)

    def _find(self, key: str) -> Instance | None:
        """By id, name or deployment (its newest), or by the unique beginning of an id."""
        instances = self._host.engine.instances()
        exact = [instance for instance in instances if key in (instance.id, instance.name)]
        of_deployment = [
            instance for instance in instances if key == instance.deployment_id and self._is_ours(instance)
        ]
        begun = [instance for instance in instances if instance.id.startswith(key)]
        if exact:
            return exact[0]
        if of_deployment:
            return max(of_deployment, key=lambda instance: (instance.generation or 0, instance.created))
        return begun[0] if len(begun) == 1 else None

    def _owned(self, instance: Instance | None, key: str) -> Instance:
        if instance is None:
            raise EngineError("CONTAINER_NOT_FOUND", f"no container {key} on this worker")
        if not self._is_ours(instance):
            raise EngineError("NOT_OURS", f"{key} was not started by this worker's agent, which leaves it alone")
        return instance

    def _logs(self, command: m.ContainerLogs) -> m.Logs:
        instance = self._find(command.container_id)
        saved = self._context.archive.find(command.container_id) if instance is None else None
        if saved is not None:
            return self._bounded(tail(saved, command.lines, command.since))
        owned = self._owned(instance, command.container_id)
        return self._bounded(self._host.engine.logs(owned.id, command.lines, command.since))

    def _bounded(self, log: LogChunk) -> m.Logs:
        return bounded(replace(log, text=self._context.secrets.hide(log.text)))

    def _stop_container(self, command: m.StopContainer) -> m.Container:
        instance = self._owned(self._find(command.container_id), command.container_id)
        attended = self._manager.expect_end(instance)
        self._host.drain(instance.id, lambda: False)
        self._host.engine.stop(instance.id, STOP_GRACE_SECONDS)
        if not attended:
            self._context.archive.save_and_remove(self._host.engine, instance, self._host.clocks.wall())
        self._context.instance_cache.changed()
        return self._container(replace(instance, state="exited", pid=None))

    # Images and weights

    def _images(self) -> list[m.Image]:
        """Also those are users that have no container just now: they wait to start again."""
        default = self._host.policy.default_image
        wanted = [(command.image or default, command.deployment_id) for command in self._manager.wanted()]

        def used_by(image: m.Image) -> list[str]:
            return sorted({*image.used_by, *(user for name, user in wanted if name in (image.id, *image.tags))})

        return [structs.replace(image, used_by=used_by(image)) for image in self._host.engine.images()]

    def _delete_image(self, command: m.DeleteImage) -> m.Deleted:
        self._refuse_others_image(command.image_id)
        user = self._images_in_use().get(command.image_id)
        if user is not None and not command.force:
            raise EngineError("IMAGE_IN_USE", f"deployment {user} uses {command.image_id}")
        deleted = self._host.engine.delete_image(command.image_id, command.force)
        self._freed()
        return m.Deleted(deleted)

    def _refuse_others_image(self, reference: str) -> None:
        """An image that this agent neither pulled nor may run is somebody else's, and may be nowhere but here."""
        if not self._host.engine.uses_images:
            return
        image = named(self._host.engine.images(), reference)
        if image is None:
            raise EngineError("IMAGE_NOT_FOUND", f"no image {reference[:300]} here")
        ours = image.id in self._context.operations_table.pulled() or any(
            map(self._host.policy.allows_image, (*image.tags, *image.digests))
        )
        if not ours:
            raise EngineError("REFUSED_BY_HOST", f"image: {self._host.policy.not_allowed_message(reference)}")

    def _delete_model(self, command: m.DeleteModel) -> m.Deleted:
        # Other workers of this host share the cache.
        users = [
            (instance.model, instance.deployment_id)
            for instance in self._host.engine.instances()
            if instance.state == "running"
        ]
        users += [(command.model, command.deployment_id) for command in self._manager.wanted()]
        user = next((user for model, user in users if model == command.model), None)
        if user is not None:
            raise EngineError("MODEL_IN_USE", f"deployment {user} uses {command.model}: stop it first")
        if self._host.policy.hub_cache is None:
            raise EngineError("MODEL_NOT_FOUND", "this worker has no cache of weights")
        deleted = delete_model(self._host.policy.hub_cache, command.model)
        self._freed()
        return deleted

    def _prune(self, command: m.Prune) -> m.Pruned:
        if command.containers and not command.dry_run:
            self._keep_logs()
        ours = self._context.operations_table.pulled() if command.images else frozenset()
        in_use = self._images_in_use()
        pruned = self._host.engine.prune(
            images=frozenset(image_id for image_id in ours if image_id not in in_use),
            containers=command.containers,
            volumes=command.volumes,
            dry_run=command.dry_run,
        )
        if not command.dry_run:
            self._freed()
        kept = [
            m.Kept(image.id, image.size, f"deployment {in_use[image.id]} uses it")
            for image in (self._host.engine.images() if ours & in_use.keys() else [])
            if image.id in ours and image.id in in_use
        ]
        return m.Pruned(pruned.space_reclaimed, [*pruned.kept, *kept])

    def _keep_logs(self) -> None:
        """Of the dead that are about to be pruned: their crash may still be asked about."""
        for instance in self._host.engine.instances():
            if self._is_ours(instance) and instance.state == "exited":
                self._context.archive.try_to_save(self._host.engine, instance, self._host.clocks.wall())

    def _images_in_use(self) -> dict[str, str]:
        """Every name of every image that a live deployment runs, with that deployment: ids, tags, the default's too."""
        users = {
            command.image or self._host.policy.default_image: command.deployment_id
            for command in self._manager.wanted()
        }
        for image in self._host.engine.images():
            names = (image.id, *image.tags)
            user = next((users[name] for name in names if name in users), None)
            if user is not None:
                users.update(dict.fromkeys(names, user))
        return users

    def _freed(self) -> None:
        self._context.instance_cache.images_changed()
        self._context.instance_cache.changed()


def _rfc3339(seconds: float) -> str | None:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z") if seconds else None
