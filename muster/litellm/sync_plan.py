"""Which models a LiteLLM proxy should have, and what to change so that it does: pure, from deployments to steps.

A deployment that serves is one model of LiteLLM's; those of one name share its load. Its id there is made from all that
LiteLLM has to know of it, so that a model is never changed: another place or another key is another model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from msgspec import UNSET

from muster.api import addresses
from muster.api import resources as r
from muster.api.addresses import Kind
from muster.api.lifecycle import Status
from muster.api.resolving import Resolve, is_ip


@dataclass(frozen=True)
class Model:
    """One deployment, as LiteLLM is told of it. `deployment_id` is for people who look at it there."""

    name: str
    api_base: str
    api_key: str
    deployment_id: str

    @property
    def id(self) -> str:
        said = "\0".join((self.name, self.api_base, self.api_key))
        return f"muster-{self.deployment_id}-{hashlib.sha256(said.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Plan:
    """First what is new is added, then what is over is taken away: what moved is never missing."""

    add: list[Model]
    delete: list[str]


@dataclass(frozen=True)
class Via:
    """A gateway that reaches the models of hosts which LiteLLM cannot reach, and a caller's key for it."""

    url: str
    key: str


def wanted(
    deployments: Iterable[r.Deployment],
    workers: Iterable[r.Worker],
    selector: Mapping[str, str],
    via: Via | None = None,
) -> list[Model]:
    """What serves, should run, and can be reached, on workers that have the labels of `selector`.

    With `via`, a model without an endpoint is reached through that gateway: one entry for each name, since the gateway
    chooses among replicas itself.
    """
    here = {worker.worker_id for worker in workers if selector.items() <= worker.labels.items()}
    models = []
    through: dict[str, Model] = {}
    for deployment in deployments:
        if _where(deployment) not in here or not _serves(deployment):
            continue
        url, key = deployment.endpoint, deployment.api_key
        name, id_ = deployment.served_model_name, deployment.deployment_id
        if url and key is not UNSET:
            models.append(Model(name, f"{url.rstrip('/')}/v1", key, id_))
        elif via is not None:
            through.setdefault(name, Model(name, f"{via.url.rstrip('/')}/v1", via.key, id_))
    return models + list(through.values())


def _where(deployment: r.Deployment) -> str | None:
    """The worker of what serves, which may be the one that the deployment is to leave."""
    return deployment.serving_worker_id or deployment.worker_id


def _serves(deployment: r.Deployment) -> bool:
    """An older instance serves until a change is ready, or until its new worker has it."""
    serves = deployment.status is Status.RUNNING or deployment.serving_generation is not None
    is_reachable = deployment.reachable or _where(deployment) != deployment.worker_id
    return deployment.desired == "running" and serves and is_reachable


@dataclass(frozen=True)
class Checked:
    """Models that may be handed on. `unresolved` are those whose name does not resolve at the moment, and `refused`
    says of others, by deployment, why they are left out.
    """

    models: list[Model]
    unresolved: list[Model]
    refused: dict[str, str]


def check(models: Iterable[Model], resolve: Resolve | None, is_local: bool) -> Checked:
    """Resolve each name once, look at every result, and hand on the address that was looked at, not the name.

    A name that leads elsewhere a moment later then leads nobody there. Two kinds of names stay: those of https, where
    the certificate proves the name, and those behind a proxy, which asks for it. Without `resolve` all of them stay.
    `is_local`: loopback is this machine.
    """
    checked = Checked([], [], {})
    for model in models:
        url = urlsplit(model.api_base)
        host = addresses.of_host(url.hostname or "")
        is_name = host.kind is Kind.ORDINARY and not is_ip(host.host) and resolve is not None
        results = list(resolve(host.host)) if is_name and resolve is not None else []
        worst = max((host, *map(addresses.of_host, results)), key=lambda reading: reading.kind)
        if worst.kind is not Kind.ORDINARY and not (worst.kind is Kind.LOOPBACK and is_local):
            checked.refused[model.deployment_id] = f"{model.api_base} is left out: {worst.problem}"
        elif results and url.scheme == "http" and url.port is not None and url.path == "/v1":
            address = f"[{results[0]}]" if ":" in results[0] else results[0]
            checked.models.append(replace(model, api_base=f"http://{address}:{url.port}/v1"))
        elif is_name and not results:
            checked.unresolved.append(model)
        else:
            checked.models.append(model)
    return checked


def plan(models: Iterable[Model], present: Iterable[str], unresolved: Iterable[Model] = ()) -> Plan:
    """`present` are the ids of this gateway's own models in LiteLLM. Those of `unresolved` ones stay as they are."""
    there, models = set(present), list(models)
    stays = tuple(f"muster-{model.deployment_id}-" for model in unresolved)
    gone = sorted(model_id for model_id in there - {model.id for model in models} if not model_id.startswith(stays))
    return Plan([model for model in models if model.id not in there], gone)
