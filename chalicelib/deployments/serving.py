"""Which instance of a deployment serves, while a newer generation is pulled, waits for a place, or goes elsewhere.

    running is reported ──────────────► that instance serves
    a newer generation is prepared ───► the instance before it goes on serving
    its end, or the start that replaces it, is reported, or its worker does not list it ─► nothing serves

`status` is about the latest generation; what serves may be an older one, on another worker, under another name. An
agent names what serves in its reports; a client that does not is taken to have ended it when it starts the newer one.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct
from pynamodb.expressions.update import Action

from chalicelib.scheduling.gpu_claims import spec_of
from chalicelib.store.tables import Deployment
from muster.api import messages as m
from muster.api.lifecycle import ENDING, Status

MAX_ADDRESS = 512


class Serving(Struct, omit_defaults=True):
    """`model` is the name that the instance answers by; `own_key`, whether an operator chose its key. `address` is the
    worker's address by which its agent says that it can be reached: empty for none, None where nothing was said.
    """

    generation: int
    worker_id: str
    port: int
    since: float
    model: str
    own_key: bool = False
    address: str | None = None


def of(deployment: Deployment) -> Serving | None:
    """What serves, as far as reports say."""
    if deployment.serving:
        return msgspec.json.decode(deployment.serving, type=Serving)
    if deployment.status == Status.RUNNING and deployment.worker_id:  # stored by an older release
        return _running(deployment, int(deployment.status_generation), None, float(deployment.status_at))
    return None


def kept(deployment: Deployment) -> list[Action]:
    """What a new generation stores of the instance that still serves."""
    return _stored(of(deployment))


def ended(deployment: Deployment, worker_id: str) -> list[Action]:
    """What to store when nothing of the deployment runs on that worker any more."""
    serves = of(deployment)
    return [Deployment.serving.remove()] if serves is not None and serves.worker_id == worker_id else []


def found(deployment: Deployment, now: float) -> list[Action]:
    """What to store when the instance that was thought lost runs after all."""
    return _stored(_running(deployment, int(deployment.status_generation), None, now))


def reported(deployment: Deployment, worker_id: str, body: m.Report, generation: int, now: float) -> list[Action]:
    """What a report says about what serves. `generation` is the report's, which may be older than the deployment's."""
    serves = of(deployment)
    if body.reported is Status.RUNNING:
        return _as_running(deployment, serves, worker_id, body, generation, now)
    if serves is None or serves.worker_id != worker_id or generation < serves.generation:
        return []
    if _has_ended(serves, body, generation):
        return [Deployment.serving.remove()]
    return [] if deployment.serving else kept(deployment)


def _has_ended(serves: Serving, body: m.Report, generation: int) -> bool:
    if body.reported in ENDING or generation == serves.generation:
        return True
    if body.serving is not None:
        return body.serving != serves.generation
    return body.reported is Status.STARTING  # not said: where it starts, it has taken the place of the one before


def _as_running(
    deployment: Deployment, serves: Serving | None, worker_id: str, body: m.Report, generation: int, now: float
) -> list[Action]:
    """It serves: anew, or elsewhere than before. Of an older generation only what was known of it is told anew."""
    is_known = serves is not None and (serves.generation, serves.worker_id) == (generation, worker_id)
    if not is_known and generation < deployment.generation:
        return []
    after = serves if is_known else _running(deployment, generation, body.port, now)
    if after is None:
        return []
    port = body.port or after.port
    address = after.address if body.address is None else m.brief(body.address, MAX_ADDRESS)
    since = after.since if port == after.port else now
    after = msgspec.structs.replace(after, port=port, address=address, since=since)
    return [] if after == serves and deployment.serving else _stored(after)


def _running(deployment: Deployment, generation: int, port: int | None, since: float) -> Serving | None:
    """The instance of the deployment's latest generation; None where no port is known."""
    port = port or (int(deployment.port) if deployment.port else None)
    if port is None or not deployment.worker_id:
        return None
    spec = spec_of(deployment)
    name, own_key = served_model_name(spec.model, spec.config), "VLLM_API_KEY" in spec.env
    return Serving(generation, str(deployment.worker_id), port, since, name, own_key)


def _stored(serves: Serving | None) -> list[Action]:
    if serves is None:
        return [Deployment.serving.remove()]
    return [Deployment.serving.set(msgspec.json.encode(serves).decode())]


def served_model_name(model: str, config: dict[str, Any]) -> str:
    """The name by which vLLM answers: the first `served_model_name`, else the model's own."""
    name = config.get("served_model_name")
    if isinstance(name, list):
        name = name[0] if name else None
    return name if isinstance(name, str) and name else model
