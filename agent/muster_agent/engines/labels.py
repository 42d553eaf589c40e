"""How an instance says whose it is: its name, and the labels that a restarted agent reads back.

Labels are the truth about what runs, so there is no second copy of it to disagree with. The name is the idempotency
key: whoever starts the same generation of a deployment twice asks for the same name twice, and the engine refuses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from muster_agent.engines.base import EngineError, RunSpec

WORKER = "muster.worker"
DEPLOYMENT = "muster.deployment"
GENERATION = "muster.generation"
MODEL = "muster.model"
PORT = "muster.port"
BIND = "muster.bind"
GPUS = "muster.gpus"

# What Docker allows in a name, which is also what is safe as the name of a folder.
_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", re.ASCII)


@dataclass(frozen=True)
class Owner:
    """What an instance's labels say; all None for what Muster did not start. Its model listens on `bind` and `port`.

    `gpus` are the devices that it was given, as the engine was asked for them; None where an older agent started it.
    """

    worker_id: str | None = None
    deployment_id: str | None = None
    generation: int | None = None
    model: str | None = None
    port: int | None = None
    bind: str | None = None
    gpus: tuple[str, ...] | None = None


def instance_name(deployment_id: str, generation: int) -> str:
    """`muster-<deployment_id>-g<generation>`. Raises EngineError INVALID_CONFIG for an id that is no safe name."""
    if not _SAFE_ID.fullmatch(deployment_id):
        raise EngineError("INVALID_CONFIG", f"deployment_id: {deployment_id[:140]!r} cannot be part of a name")
    return f"muster-{deployment_id}-g{generation}"


def write(spec: RunSpec) -> dict[str, str]:
    """The labels of an instance to start."""
    return {
        WORKER: spec.worker_id,
        DEPLOYMENT: spec.deployment_id,
        GENERATION: str(spec.generation),
        MODEL: spec.model,
        PORT: str(spec.port),
        BIND: spec.bind,
        GPUS: ",".join(spec.device_ids),
    }


def read(labels: Mapping[str, str]) -> Owner:
    """Whose it is: nobody's where the labels are missing or not Muster's own writing."""
    try:
        return Owner(
            worker_id=labels[WORKER],
            deployment_id=labels[DEPLOYMENT],
            generation=int(labels[GENERATION]),
            model=labels.get(MODEL, ""),
            port=int(labels[PORT]) if labels.get(PORT) else None,
            bind=labels.get(BIND),
            gpus=tuple(gpu for gpu in labels[GPUS].split(",") if gpu) if GPUS in labels else None,
        )
    except (KeyError, ValueError):
        return Owner()
