"""Which models serve where, what is starting, and who may call: all that a gateway has to know.

It is made of the reading that all viewers of a process share (docs/adr/0040), so that a poll costs little, and no
report writes anything for it.
"""

from __future__ import annotations

import msgspec

from chalicelib.deployments import publication, serving
from chalicelib.fleet import address_claims
from chalicelib.fleet.workers import Worker
from chalicelib.gateways import caller_keys, selectors
from chalicelib.scheduling import gpu_claims
from chalicelib.store import settings
from chalicelib.store.tables import Deployment
from chalicelib.telemetry.fleet_reader import Fleet
from chalicelib.telemetry.snapshot import SHARED
from muster.api import gateways as g
from muster.api import messages as m
from muster.api.lifecycle import COMING_UP


def current(query: g.RoutesQuery, now: float) -> g.Routes:
    """Raises INVALID_REQUEST for a selector that is none."""
    selector = selectors.parsed(query.selector)
    fleet = SHARED.fleet(now)
    chosen = {
        worker_id: worker for worker_id, worker in fleet.workers.items() if selectors.accepts(selector, worker.labels)
    }
    return g.Routes(_replicas(fleet, chosen), _starting(fleet, chosen), caller_keys.current(now), settings.GATEWAY_POLL)


def _replicas(fleet: Fleet, chosen: dict[str, Worker]) -> list[g.Replica]:
    now = fleet.read_at
    claims = publication.claims_of(fleet.deployments.values(), fleet.workers, now)
    shown = publication.shown(fleet.deployments.values(), fleet.workers, now, claims)
    found = []
    for deployment_id, deployment in fleet.deployments.items():
        endpoint = shown.get(deployment_id)
        worker = chosen.get(endpoint.serves.worker_id) if endpoint else None
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


def _starting(fleet: Fleet, chosen: dict[str, Worker]) -> list[g.StartingModel]:
    found = []
    for deployment_id, deployment in fleet.deployments.items():
        is_here = deployment.worker_id is None or deployment.worker_id in chosen
        if deployment.desired != "running" or deployment.status not in COMING_UP or not is_here:
            continue
        spec = gpu_claims.spec_of(deployment)
        progress = msgspec.json.decode(deployment.progress, type=m.Progress) if deployment.progress else None
        found.append(
            g.StartingModel(
                deployment_id,
                serving.served_model_name(spec.model, spec.config),
                str(deployment.status),
                deployment.message,
                progress.percent if progress else None,
                float(deployment.status_at),
            )
        )
    return found
