"""Which models serve where, what is starting, and who may call: all that a gateway has to know.

It is made of the reading that all viewers of a process share (docs/adr/0040), and no report writes anything for it. A
poll reads what changed since the last one; heartbeats, which say only who is online, are read by a poll in three.
"""

from __future__ import annotations

from typing import Any

import msgspec

from chalicelib.deployments import publication, serving
from chalicelib.fleet import address_claims
from chalicelib.gateways import caller_keys, selectors
from chalicelib.scheduling import gpu_claims
from chalicelib.store import settings
from chalicelib.store.tables import Deployment
from chalicelib.telemetry.fleet_reader import Fleet
from chalicelib.telemetry.snapshot import SHARED
from muster.api import gateways as g
from muster.api import messages as m
from muster.api.lifecycle import COMING_UP
from muster.api.structs import Value

HEARTBEATS_SECONDS = 3 * settings.GATEWAY_POLL
"""How old heartbeats may be that no line of the timeline names: a poll in three reads those of the whole fleet."""


class _Made(Value, frozen=True):
    """What the control plane made of a reading. `of` is what the reading had that matters."""

    fleet: Fleet
    of: tuple[Any, ...]
    replicas: list[g.Replica]
    starting: list[tuple[str | None, g.StartingModel]]
    """Each with the id of its worker, if it has one."""


class RouteCache:
    """The routes of all workers, as this process last made them: made again where the fleet has changed."""

    def __init__(self) -> None:
        self._made: _Made | None = None

    def of(self, fleet: Fleet) -> _Made:
        made = self._made
        if made is not None and made.fleet is fleet:
            return made
        of = _what_matters(fleet)
        if made is not None and made.of == of:
            made = msgspec.structs.replace(made, fleet=fleet)
        else:
            made = _Made(fleet, of, _replicas(fleet), _starting(fleet))
        self._made = made
        return made


CACHE = RouteCache()
"""This process's."""


def current(query: g.RoutesQuery, now: float) -> g.Routes:
    """Raises INVALID_REQUEST for a selector that is none."""
    selector = selectors.parsed(query.selector)
    fleet = SHARED.fleet(now, HEARTBEATS_SECONDS, fresh=query.fresh)
    made = CACHE.of(fleet)
    replicas, starting = made.replicas, [model for _, model in made.starting]
    if selector:
        chosen = {i for i, worker in fleet.workers.items() if selectors.accepts(selector, worker.labels)}
        replicas = [replica for replica in replicas if replica.worker_id in chosen]
        starting = [model for worker_id, model in made.starting if worker_id is None or worker_id in chosen]
    return g.Routes(replicas, starting, caller_keys.current(now, fresh=query.fresh), settings.GATEWAY_POLL)


def _what_matters(fleet: Fleet) -> tuple[Any, ...]:
    """All that replicas and starting models are made of: two readings in which it is equal have the same routes.

    A heartbeat matters by whether its worker is online and serves through tunnels.
    """
    now = fleet.heartbeats_at
    hosts = [(worker.record, worker.online(now), bool(worker.heartbeat.tunnels)) for worker in fleet.workers.values()]
    return hosts, list(fleet.deployments.values())


def _replicas(fleet: Fleet) -> list[g.Replica]:
    now = fleet.heartbeats_at
    claims = publication.claims_of(fleet.deployments.values(), fleet.workers, now)
    shown = publication.shown(fleet.deployments.values(), fleet.workers, now, claims)
    found = []
    for deployment_id, deployment in fleet.deployments.items():
        endpoint = shown.get(deployment_id)
        worker = fleet.workers.get(endpoint.serves.worker_id) if endpoint else None
        if endpoint is None or worker is None or not worker.online(now) or _is_leaving(deployment):
            continue
        direct = endpoint.endpoint if address_claims.is_pinned(worker.record) else None
        found.append(
            g.Replica(
                deployment_id,
                endpoint.serves.model,
                worker.worker_id,
                str(worker.record.name),
                tunnel=bool(worker.heartbeat.tunnels),
                endpoint=direct,
                key=_key(deployment, endpoint.serves) if direct else None,
            )
        )
    return found


def _is_leaving(deployment: Deployment) -> bool:
    """Whether an operator stopped it: gateways ask it for nothing more, while requests that run may finish."""
    return bool(deployment.desired == "stopped")


def _key(deployment: Deployment, serves: serving.Serving) -> str | None:
    """The model's own key; None where its host has it, and nobody else."""
    if not serves.own_key:
        return str(deployment.api_key)
    given = gpu_claims.spec_of(deployment).env.get("VLLM_API_KEY")
    return given if isinstance(given, str) else None


def _starting(fleet: Fleet) -> list[tuple[str | None, g.StartingModel]]:
    found = []
    for deployment_id, deployment in fleet.deployments.items():
        worker_id = deployment.worker_id
        is_here = worker_id is None or worker_id in fleet.workers
        if deployment.desired != "running" or deployment.status not in COMING_UP or not is_here:
            continue
        spec = gpu_claims.spec_of(deployment)
        progress = msgspec.json.decode(deployment.progress, type=m.Progress) if deployment.progress else None
        starting = g.StartingModel(
            deployment_id,
            serving.served_model_name(spec.model, spec.config),
            str(deployment.status),
            deployment.message,
            progress.percent if progress else None,
            float(deployment.status_at),
        )
        found.append((str(worker_id) if worker_id else None, starting))
    return found
