"""Which models a LiteLLM proxy should have, and what to change so that it does: pure, from deployments to steps.

A running deployment is one model of LiteLLM's; those of one name share its load. Its id there is made from all that
LiteLLM has to know of it, so that a model is never changed: another place or another key is another model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from msgspec import UNSET

from chalicelib.contract import resources as r
from chalicelib.contract.lifecycle import Status


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


def wanted(
    deployments: Iterable[r.Deployment], workers: Iterable[r.Worker], selector: Mapping[str, str]
) -> list[Model]:
    """What runs, should run, and can be reached, on workers that have the labels of `selector`."""
    here = {each.worker_id for each in workers if selector.items() <= each.labels.items()}
    return [
        Model(each.served_model_name, f"{each.endpoint.rstrip('/')}/v1", each.api_key, each.deployment_id)
        for each in deployments
        if each.endpoint and each.api_key is not UNSET and each.worker_id in here and _serves(each)
    ]


def _serves(deployment: r.Deployment) -> bool:
    return deployment.desired == "running" and deployment.status is Status.RUNNING and deployment.reachable


def plan(models: Iterable[Model], present: Iterable[str]) -> Plan:
    """`present` are the ids of this gateway's own models in LiteLLM."""
    there, models = set(present), list(models)
    return Plan([each for each in models if each.id not in there], sorted(there - {each.id for each in models}))
