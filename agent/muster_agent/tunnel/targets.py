"""The models of this host that can be asked, by deployment."""

from __future__ import annotations

from collections.abc import Mapping

from muster.api.lifecycle import Status
from muster.api.messages import Deploy
from muster_agent.engines.base import Instance
from muster_agent.runner.context import WorkerContext
from muster_agent.runner.runner import DeploymentRunner
from muster_agent.tunnel.orders import ModelTarget

KEY = "VLLM_API_KEY"


def targets(
    context: WorkerContext, runners: Mapping[str, DeploymentRunner], before: Mapping[str, ModelTarget]
) -> dict[str, ModelTarget]:
    """The instances that serve now. One that is to be replaced serves until it ends: `before` has how it is asked."""
    running = {
        instance.id: instance
        for instance in context.instance_cache.seen or ()
        if instance.state == "running" and instance.port is not None and context.is_own(instance)
    }
    found = {}
    for deployment_id, runner in list(runners.items()):
        target = _target(context, runner, running) or before.get(deployment_id)
        if target is not None and target.instance in running:
            found[deployment_id] = target
    return found


def _target(context: WorkerContext, runner: DeploymentRunner, running: Mapping[str, Instance]) -> ModelTarget | None:
    """How the instance of the latest generation is asked; None while it is not ready."""
    record = runner.record
    command, instance = record.command, running.get(record.container_id or "")
    if not isinstance(command, Deploy) or record.status is not Status.RUNNING or instance is None:
        return None
    if instance.generation not in (None, command.generation) or instance.port is None:
        return None
    key = command.env.get(KEY)
    if key is not None and not isinstance(key, str):
        key = context.host.host_env.get(KEY)
    bind = instance.bind or context.host.listening.bind()
    return ModelTarget(
        instance.id, "127.0.0.1" if bind in ("0.0.0.0", "") else "::1" if bind == "::" else bind, instance.port, key
    )
