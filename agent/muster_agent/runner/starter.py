"""From a deploy command to an instance: the owner's veto, preflight, the port, the start, the question whether it is
ready."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from threading import Lock

from muster.api.messages import Deploy
from muster_agent.backends.command import RunTemplate, desired_port, run_template, served_model_name
from muster_agent.backends.flags import flags
from muster_agent.backends.hub import Finding
from muster_agent.backends.impossible_flags import check_possible
from muster_agent.backends.policy import refusal
from muster_agent.engines.base import EngineError, Instance, RunSpec
from muster_agent.gpus.gpu_usage import Gpu
from muster_agent.runner.context import WorkerContext
from muster_agent.runner.preflight import Preflight, PreflightResult, StartRequest

PORT_RACES = 3
"""Starts with another port, where somebody else on this host took the free one first."""


@dataclass(frozen=True)
class PreparedStart:
    """A start that nothing is in the way of; `missing_image` is to be pulled first."""

    command: Deploy
    missing_image: str | None
    preflight: PreflightResult


class Starter:
    """Starts instances for every deployment of a worker."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._host = context.host
        self._engine = context.host.engine
        self._instance_cache = context.instance_cache
        self._preflight = Preflight(context.host.policy, context.host.host_probe)
        # Two starts at once would be given the same free port.
        self._one_at_a_time = Lock()

    def prepare(self, command: Deploy, own: Collection[Instance]) -> PreparedStart:
        """Look at everything that could be in the way, before anything is fetched or ended for it.

        Raises GpuMissing; EngineError REFUSED_BY_HOST, INVALID_CONFIG, ADDRESS_MISSING, else what preflight found.
        """
        self._check(command)
        there = self._instance_cache.instances()
        self._preflight.check_gpus(command, self._context.worker_id, there)
        self._host.listening.bind()  # while it is missing, the deployment waits for it
        template = self._template(command)
        missing = template.image if template.image is not None and not self._engine.has_image(template.image) else None
        offer = self._engine.offer(missing) if missing is not None else None
        request = StartRequest(template, self._host.host_env, own, there, self._engine.root(), offer)
        found = [*self._port_findings(command, own), *self._path_findings(command)]
        return PreparedStart(command, missing, self._preflight.check(request, found))

    def _check(self, command: Deploy) -> None:
        """Raises EngineError for what cannot be, or may not be, whatever the host has at the moment."""
        tuple(flags(command.config))  # what cannot be, before what may not be: a refusal may quote a value
        check_possible(command.config, command.gpus)
        refused = refusal(command, self._host.policy, self._engine.uses_images)
        if refused is not None:
            raise EngineError("REFUSED_BY_HOST", refused)
        desired_port(command)

    def start(self, command: Deploy, last_port: int | None) -> Instance:
        """On the port that is asked for, else on `last_port` if it is free, so that an endpoint outlives a crash.

        Its paths are resolved again: a link may have been turned since `prepare` looked at it. Raises EngineError.
        """
        with self._one_at_a_time:
            lost: set[int] = set()
            while True:
                port = self._port(command, last_port, lost)
                # Again: while an image was pulled, another deployment may have started on that GPU.
                gpus = self._preflight.check_gpus(command, self._context.worker_id, self._instance_cache.instances())
                spec = self._spec(self._template(command), port, gpus)
                try:
                    instance = self._engine.start(spec)
                except EngineError as error:
                    lost.add(spec.port)
                    if error.error_code != "PORT_IN_USE" or desired_port(command) or len(lost) > PORT_RACES:
                        raise
                else:
                    self._instance_cache.changed()
                    return instance

    def is_ready(self, command: Deploy, instance: Instance) -> bool:
        """Whether the instance serves the command's model, asked with the deployment's own key."""
        if instance.port is None:
            return False
        key = command.env.get("VLLM_API_KEY")
        if key is not None and not isinstance(key, str):
            key = self._host.host_env.get("VLLM_API_KEY")
        return self._host.probe.is_ready(self._bind_of(instance), instance.port, served_model_name(command), key)

    def is_alive(self, instance: Instance) -> bool:
        """Whether it answers. While the host lacks the address where it listens, it counts as alive: nobody can ask."""
        if instance.port is None:
            return False
        bind = self._bind_of(instance)
        return self._host.probe.is_alive(bind, instance.port) or not self._host.listening.is_here(bind)

    def is_out_of_reach(self, instance: Instance) -> bool:
        """Whether the host lost the address that the instance listens at, so that no probe can tell how it is."""
        return not self._host.listening.is_here(self._bind_of(instance))

    def _bind_of(self, instance: Instance) -> str:
        return instance.bind or self._host.listening.bind()

    def _template(self, command: Deploy) -> RunTemplate:
        return run_template(command, self._host.policy, self._host.host_env, self._engine.uses_images)

    def _spec(self, template: RunTemplate, port: int, gpus: Collection[Gpu]) -> RunSpec:
        return template.spec(
            self._context.worker_id,
            self._host.listening.bind(),
            port,
            uuids={gpu.index: gpu.uuid for gpu in gpus if gpu.uuid is not None},
            positions={gpu.index: gpu.position for gpu in gpus if gpu.position is not None},
        )

    def _port_findings(self, command: Deploy, own: Collection[Instance]) -> list[Finding]:
        """Of the port that is asked for; one that its own predecessor holds will be free."""
        wanted = desired_port(command)
        if any(instance.port == wanted and instance.state == "running" for instance in own):
            return []
        try:
            self._port(command, None)
        except EngineError as error:
            if error.error_code == "ADDRESS_MISSING":  # nothing is wrong with the deployment: it waits
                raise
            return [Finding(error.error_code, error.message)]
        return []

    def _path_findings(self, command: Deploy) -> Iterator[Finding]:
        """Of the files that a container is to see: one that is not there would be told by vLLM in many ways."""
        if self._engine.uses_images:
            for where, path in self._host.policy.missing(command):
                advice = "put it there, or correct the path"
                yield Finding("INVALID_CONFIG", f"{where}: there is no {path} on this host: {advice}")

    def _port(self, command: Deploy, last_port: int | None, lost: Collection[int] = ()) -> int:
        self._instance_cache.changed()
        taken = {
            instance.port
            for instance in self._instance_cache.instances()
            if instance.port is not None and instance.state != "exited"
        }
        taken.update(lost)
        wanted, bind = desired_port(command), self._host.listening.bind()
        if wanted is None and last_port is not None:
            try:
                return self._host.free_port(last_port, bind, taken)
            except EngineError:
                # It was only a preference.
                pass
        return self._host.free_port(wanted, bind, taken)
