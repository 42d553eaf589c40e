"""From a deploy command to one instance to start: vLLM's arguments, environment and port. Nothing is started here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from muster.api.messages import Deploy, FromHost
from muster_agent.backends.container_settings import Asked, asked
from muster_agent.backends.flags import flags, given, value_of
from muster_agent.backends.given_flags import sendable
from muster_agent.backends.hub import DEFAULT_ENDPOINT
from muster_agent.backends.policy import CONTAINER_HUB_CACHE, SHARED, HostPolicy
from muster_agent.engines.base import EngineError, Mount, RunSpec
from muster_agent.engines.labels import instance_name

_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")

_PARALLEL = ("tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size")


def desired_port(command: Deploy) -> int | None:
    """The port that the deployment asks for, if any. Raises EngineError INVALID_CONFIG for what is no port."""
    port = command.config.get("port")
    if port is None:
        return None
    if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 65535:
        raise EngineError("INVALID_CONFIG", f"config.port: expected a number from 1 to 65535, got {port!r:.80}")
    return port


def served_model_name(command: Deploy) -> str:
    """What clients of the model's API send as `model`."""
    return value_of(command.config, "served-model-name") or command.model


@dataclass(frozen=True)
class RunTemplate:
    """A deploy command in the terms of this host: a RunSpec but for the address, the port and the GPUs of its start.

    `env` may hold secrets. `image` is None for an engine without images, `location` is where that engine or image finds
    the model.
    """

    command: Deploy
    location: str
    settings: Asked
    image: str | None
    flags: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    mounts: tuple[Mount, ...]

    def spec(
        self,
        worker_id: str,
        bind: str,
        port: int,
        *,
        uuids: Mapping[int, str] = MappingProxyType({}),
        positions: Mapping[int, int] = MappingProxyType({}),
    ) -> RunSpec:
        """`uuids` and `positions` are of this host's GPUs, by the index that placement knows."""
        # Containers are given the model by flag, and the engine by position where their image has it so. On a network
        # of their own they listen at all of its addresses; the engine publishes the port on `bind` alone.
        is_container = self.image is not None
        listens = () if is_container and not self.settings.host_network else ("--host", bind)
        head = (*(("--model",) if is_container else ()), self.location, *listens)
        command = self.command
        return RunSpec(
            name=instance_name(command.deployment_id, command.generation),
            worker_id=worker_id,
            deployment_id=command.deployment_id,
            generation=command.generation,
            model=command.model,
            image=self.image,
            arguments=(*head, "--port", str(port), *self.flags),
            env=self.env,
            gpus=tuple(command.gpus),
            bind=bind,
            port=port,
            mounts=self.mounts,
            devices=tuple(uuids.get(gpu, str(positions.get(gpu, gpu))) for gpu in command.gpus),
            positions=tuple(positions.get(gpu, gpu) for gpu in command.gpus),
            entrypoint=self.settings.entrypoint,
            host_network=self.settings.host_network,
        )


def run_template(command: Deploy, policy: HostPolicy, host_env: Mapping[str, str], uses_images: bool) -> RunTemplate:
    """What to start for `command`. Raises EngineError INVALID_CONFIG, naming the field."""
    settings = asked(command.config)
    location = policy.location(command.model, settings.targets)
    return RunTemplate(
        command=command,
        location=location,
        settings=settings,
        image=(command.image or policy.default_image) if uses_images else None,
        flags=(*flags(command.config), *_implied(command, location)),
        env=_environment(command, policy, host_env, uses_images),
        mounts=policy.mounts(command) if uses_images else (),
    )


def _implied(command: Deploy, location: str) -> Iterator[str]:
    """Flags that follow from the rest of the command, unless it gives them itself."""
    if len(command.gpus) > 1 and not any(given(command.config, flag) for flag in _PARALLEL):
        yield from ("--tensor-parallel-size", str(len(command.gpus)))
    if location != command.model and not given(command.config, "served-model-name"):
        yield from ("--served-model-name", command.model)


def _environment(command: Deploy, policy: HostPolicy, host_env: Mapping[str, str], uses_images: bool) -> dict[str, str]:
    env = {name: host_env[name] for name in SHARED if host_env.get(name)}
    if _asks_elsewhere(command, host_env):
        env |= _without_token(command)
    env.update((name, _value(name, value, host_env)) for name, value in command.env.items())
    if policy.hub_cache is not None:
        env["HF_HUB_CACHE"] = CONTAINER_HUB_CACHE if uses_images else str(policy.hub_cache)
    return env


def _asks_elsewhere(command: Deploy, host_env: Mapping[str, str]) -> bool:
    """Whether the deployment chose another hub than this host's."""
    own = host_env.get("HF_ENDPOINT") or DEFAULT_ENDPOINT
    chosen = command.env.get("HF_ENDPOINT")
    return isinstance(chosen, str) and chosen.rstrip("/") != own.rstrip("/")


def _without_token(command: Deploy) -> dict[str, str]:
    """The host's token is for the host's hub, or whoever deploys could have it sent anywhere. It is emptied, not left
    out: a process would inherit it, or read the one of `hf auth login`.
    """
    for name in _TOKENS:
        if isinstance(command.env.get(name), FromHost):
            raise EngineError("REFUSED_BY_HOST", f"env.{name}: this host's token is not for the hub of env.HF_ENDPOINT")
    return dict.fromkeys(_TOKENS, "") | {"HF_TOKEN_PATH": os.devnull}


def _value(name: str, value: str | FromHost, host_env: Mapping[str, str]) -> str:
    where = f"env.{name}"
    if name.startswith("MUSTER_"):
        raise EngineError("INVALID_CONFIG", f"{where}: names that start with MUSTER_ are the agent's own")
    if name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"):
        raise EngineError("INVALID_CONFIG", f"{where}: the deployment's `gpus` decides")
    if isinstance(value, str):
        return sendable(where, value)
    if name not in host_env:
        raise EngineError("INVALID_CONFIG", f"{where}: from_host, but the agent's environment has no {name}")
    return host_env[name]
