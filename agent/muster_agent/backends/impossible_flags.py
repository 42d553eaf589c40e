"""Flags that no deployment can have, whatever the host's owner allows: what decides instead, and what to do."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from muster.api.credentials import OWN_KEY
from muster.api.messages import Fix
from muster_agent.backends.given_flags import CONTAINER_KEYS, Given, given_flags, is_reserved
from muster_agent.backends.harmless_flags import HOST_FLAGS
from muster_agent.engines.base import EngineError

_DECIDED = {
    "model": "the deployment's own `model` decides",
    "model-tag": "the deployment's own `model` decides",
    "host": "the agent binds the port (its setting --address)",
    "port": "give it as config.port",
    "uds": "the agent reaches its models by TCP",
    "grpc": "the agent and its clients reach models by HTTP",
    "api-key": f"each deployment has a key: {OWN_KEY}",
    "config": "give the flags themselves",
}
"""Of two equal flags the last one wins without a word, so none of these may come a second time."""
_DOCKER = {
    "entrypoint": "config.container_entrypoint is the entry point of the container",
    "volume": "config.container_mounts mounts folders of the host",
    "volumes": "config.container_mounts mounts folders of the host",
    "network": "config.container_network is the network of the container",
    "gpus": "the deployment's own `gpus` decides",
    "shm-size": "every container has 16 GiB of shared memory",
    "ipc": "every container has 16 GiB of shared memory",
}
"""Options of `docker run`, which vLLM does not have."""
_TLS = "the agent and the gateway ask models by plain HTTP: put TLS before them, in the gateway or a proxy"
_ONE_CONTAINER = "one deployment is one container on one host: give it that host's `gpus` (tensor_parallel_size)"
_NEUTRAL = {
    "nnodes": ("1",),
    "node-rank": ("0",),
    "master-addr": ("127.0.0.1", "localhost", "::1"),
    "data-parallel-address": ("127.0.0.1", "localhost", "::1"),
    "data-parallel-start-rank": ("0",),
}
"""Values of flags for several nodes that mean one node."""
_SEVERAL_NODES = (
    *(flag for flag in HOST_FLAGS if flag != "tool-server"),
    *("data-parallel-rank", "data-parallel-start-rank", "data-parallel-size-local"),
)
_PARTS = ("tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size", "prefill-context-parallel-size")


def check_possible(config: Mapping[str, Any], gpus: Collection[int] = ()) -> None:
    """Raises EngineError INVALID_CONFIG for the first flag that cannot be set, with what to do instead.

    `gpus` are those of the deployment; without any, nothing is said about how many the flags need.
    """
    for key in config:
        if is_reserved(key) and key.replace("-", "_") not in CONTAINER_KEYS:
            raise _impossible(f"config.{key[:140]}", f"there is no such setting, only {', '.join(CONTAINER_KEYS)}")
    given = list(given_flags(config))
    replicas = next((_text(flag.value) for flag in given if flag.name == "data-parallel-size"), "1")
    for flag in given:
        reason = _reason(flag, replicas)
        if reason is not None:
            raise _impossible(flag.where, reason)
    _check_parts(given, len(gpus))


def is_one_node(name: str, value: Any) -> bool:
    """Whether a flag for several nodes has the value that means one node."""
    return value is False or _text(value) in _NEUTRAL.get(name, ())


def _reason(given: Given, replicas: str) -> str | None:
    name, value = given.name, given.value
    # argparse takes any beginning of a flag for the flag.
    decided = next((why for flag, why in _DECIDED.items() if flag.startswith(name)), _DOCKER.get(name))
    if decided is not None:
        return f"cannot be set here: {decided}"
    if value is False:
        return None
    if name.startswith("ssl-") or name in ("ssl", "enable-ssl-refresh"):
        return f"cannot be set here: {_TLS}"
    several = name not in _PARTS and any(flag.startswith(name) for flag in _SEVERAL_NODES)
    if several and not is_one_node(name, value) and not (name.endswith("-local") and _text(value) == replicas):
        return f"is for several nodes, and {_ONE_CONTAINER}"
    if name == "distributed-executor-backend" and _text(value) == "external_launcher":
        return f"is for processes that something else starts, and {_ONE_CONTAINER}"
    return None


def _check_parts(given: list[Given], gpus: int) -> None:
    """vLLM looks for the GPUs that are missing on other hosts, and waits for these."""
    parts = {flag.name: _number(flag.value) for flag in given if flag.name in _PARTS}
    wanted = math.prod(parts.values())
    if not 0 < gpus < wanted:
        return
    where = next(flag.where for flag in given if flag.name in _PARTS and parts[flag.name] > 1)
    what = f"splits the model over {wanted} GPUs, and the deployment has {gpus}: give it {wanted} `gpus`, or lower this"
    raise _impossible(where, f"{what}. One deployment is one container on one host", Fix(gpus=wanted))


def _number(value: Any) -> int:
    text = _text(value)
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 and int(text) else 1


def _text(value: Any) -> str:
    last = value[-1] if isinstance(value, list) and value else value
    return str(last).strip().lower()


def _impossible(where: str, reason: str, fix: Fix | None = None) -> EngineError:
    return EngineError("INVALID_CONFIG", f"{where}: {reason}", fix)
