"""The deployments of this host: an actor for each, made from the journal at start and from commands after that."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock

from muster.api.messages import Deploy, GpuDevice, GpuInfo, Orphan, Stop
from muster_agent.engines.base import Instance
from muster_agent.runner.context import WorkerContext
from muster_agent.runner.runner import DeploymentRunner
from muster_agent.runner.starter import Starter
from muster_agent.state.deployments import Record


class DeploymentManager:
    """Tests give a `spawn` that does nothing, and step the actors themselves."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._starter = Starter(context)
        self._lock = Lock()
        self._closed = False
        self.runners: dict[str, DeploymentRunner] = {}

    def resume(self) -> None:
        """Go on with what the journal says, with or without a control plane."""
        for record in self._context.deployments_table.all():
            if not record.at_rest:
                self._go(self._actor(record))

    def submit(self, command: Deploy | Stop) -> None:
        """An intent that is journaled, or was journaled before and is said again. Of one that is older than what is
        journaled, nothing is done but to say what is."""
        record = self._context.deployments_table.get(command.deployment_id) or Record(command)
        runner = self._actor(record)
        runner.submit(record)
        self._go(runner)

    def notice(self) -> None:
        """Wake those whose instance has ended, and deployments at rest that have something running after all."""
        running = {instance.id for instance in self._ours() if instance.state == "running"}
        for runner in self.runners.copy().values():
            if runner.misses(running):
                runner.wake()
        for deployment_id in {instance.deployment_id for instance in self._ours()}:
            if deployment_id is None:
                continue
            known = self.runners.get(deployment_id)
            record = known.record if known else self._context.deployments_table.get(deployment_id)
            # Without a record it is an orphan: shown, and never touched unasked.
            if record is not None and record.at_rest:
                runner = self._actor(record)
                runner.wake()
                self._go(runner)

    def active(self) -> list[str]:
        """Deployments with an instance of ours that runs, or is about to; from what was seen last, without waiting.

        Where nobody could look since something may have been started, that counts as running: the control plane takes
        what is not listed for gone, and gives its GPUs away.
        """
        starting = {id for id, runner in self.runners.copy().items() if runner.coming_up}
        return sorted(self._running() | starting | self._orphans())

    def pending(self) -> list[str]:
        """Deployments that have nothing running, and that are started here without being told again."""
        expected = {id for id, runner in self.runners.copy().items() if runner.is_expected}
        return sorted(expected.difference(self.active()))

    def held_up(self) -> list[str]:
        """Deployments that wait for the engine: what runs goes on without it, and what is at rest needs nothing."""
        return sorted(id for id, runner in self.runners.copy().items() if runner.is_on_its_way)

    def has_something_of(self, deployment_id: str) -> bool:
        """Whether an instance of it may run here, or come up, whatever becomes of a newer intent."""
        runner = self.runners.get(deployment_id)
        record = runner.record if runner else self._context.deployments_table.get(deployment_id)
        comes_up = record is not None and isinstance(record.command, Deploy) and not record.at_rest
        return comes_up or deployment_id in self._running()

    def orphans(self, gpus: GpuInfo | None) -> list[Orphan]:
        """What Muster runs here without a command that this agent knows, and the GPUs that it holds, by index.

        One of another worker, which this host was before or which is a neighbor, counts where it holds a GPU. One that
        does not tell its GPUs is left out: the control plane then takes it that it may hold any.
        """
        found = []
        for instance in self._context.instance_cache.seen or ():
            if (
                instance.state != "running"
                or instance.deployment_id is None
                or instance.gpus is None
                or self._knows(instance)
            ):
                continue
            held = [device.index for device in gpus.devices if _ids(device) & set(instance.gpus)] if gpus else []
            if held or self._context.is_own(instance):
                found.append(Orphan(instance.deployment_id, held))
        return found

    def _knows(self, instance: Instance) -> bool:
        if instance.worker_id != self._context.worker_id or instance.deployment_id is None:
            return False
        return (
            instance.deployment_id in self.runners
            or self._context.deployments_table.get(instance.deployment_id) is not None
        )

    def failed_with(self, error_code: str) -> dict[str, str]:
        """What was reported last of the deployments that do not run, or may not yet, for this cause: by their ids."""
        found = {}
        for deployment_id, runner in sorted(self.runners.copy().items()):
            report = runner.record.report
            if report is not None and report.error_code == error_code and isinstance(runner.record.command, Deploy):
                found[deployment_id] = report.message or ""
        return found

    def expect_end(self, instance: Instance) -> bool:
        """An operator is about to end it. False when no deployment here cares for it: an orphan."""
        runner = self.runners.get(instance.deployment_id or "")
        if runner is None or instance.worker_id != self._context.worker_id:
            return False
        runner.expect_end(instance.id)
        return True

    def wanted(self) -> list[Deploy]:
        """The deploys that are alive here, or shall be: what uses images and weights."""
        live = (record.command for record in self._context.deployments_table.all() if not record.at_rest)
        return [command for command in live if isinstance(command, Deploy)]

    def close(self) -> None:
        """Let go of all of them; what runs goes on running."""
        with self._lock:
            self._closed = True
            runners = list(self.runners.values())
        for runner in runners:
            runner.close()

    def _ours(self) -> Iterable[Instance]:
        seen = self._context.instance_cache.seen or ()
        return [
            instance
            for instance in seen
            if instance.worker_id == self._context.worker_id and instance.deployment_id is not None
        ]

    def _running(self) -> set[str]:
        """Deployments of which an instance of ours runs, as far as anybody could look."""
        if self._context.instance_cache.seen is None:
            # Before the first look at the host the journal is the best guess.
            live = {record.deployment_id for record in self._context.deployments_table.all() if _may_run(record)}
        else:
            live = {
                instance.deployment_id
                for instance in self._ours()
                if instance.deployment_id and instance.state == "running"
            }
        return live | self._context.instance_cache.unlisted

    def _orphans(self) -> set[str]:
        """Deployments of workers that this agent was, which still run here."""
        seen, past = self._context.instance_cache.seen or (), self._context.past_workers
        running = (instance for instance in seen if instance.worker_id in past and instance.state == "running")
        return {instance.deployment_id for instance in running if instance.deployment_id}

    def _actor(self, record: Record) -> DeploymentRunner:
        with self._lock:
            return self.runners.setdefault(record.deployment_id, DeploymentRunner(record, self._context, self._starter))

    def _go(self, runner: DeploymentRunner) -> None:
        if not self._closed and runner.take_thread():
            self._context.host.spawn(f"deployment-{runner.record.deployment_id[:8]}", runner.run)


def _may_run(record: Record) -> bool:
    """Whether an instance may be there, as far as the journal tells: a stop that is not done may have one to end."""
    return record.container_id is not None or (isinstance(record.command, Stop) and not record.at_rest)


def _ids(device: GpuDevice) -> set[str]:
    """By which an engine may have been asked for it."""
    return {device.uuid or str(device.index)}
