"""Deployments as operators see them: the stored item, and what its worker adds to it at this moment."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping

import msgspec

from chalicelib.auth.tokens import Principal
from chalicelib.deployments import crash_loops, publication
from chalicelib.deployments.serving import served_model_name
from chalicelib.fleet import conditions, workers
from chalicelib.fleet.workers import Worker
from chalicelib.scheduling import gpu_claims
from chalicelib.store import paging
from chalicelib.store.tables import Deployment
from chalicelib.store.times import when
from muster.api import messages as m
from muster.api import resources as r
from muster.api.credentials import without_credentials
from muster.api.endpoints import Access
from muster.api.lifecycle import Status

NOBODY = Principal("nobody", Access.VIEWER)
"""For whom what several viewers share is made."""


def one(deployment: Deployment, viewer: Principal, now: float) -> r.Deployment:
    return _listed([deployment], viewer, now)[0]


def several(query: r.DeploymentsQuery, viewer: Principal, now: float) -> r.Deployments:
    found, next_token = paging.page(Deployment, "deployment", query, _matching(query))
    return r.Deployments(_listed(found, viewer, now), next_token)


def _listed(found: list[Deployment], viewer: Principal, now: float) -> list[r.Deployment]:
    workers_by_id = workers.several(
        [*{str(d.worker_id) for d in found if d.worker_id} | publication.serving_workers(found)]
    )
    held = conditions.of(workers_by_id.values())
    shown = publication.shown(found, workers_by_id, now)
    return [
        _view(
            deployment,
            workers_by_id.get(str(deployment.worker_id)),
            held.get(str(deployment.worker_id), []),
            shown.get(str(deployment.deployment_id)),
            viewer,
            now,
        )
        for deployment in found
    ]


def of_fleet(
    found: list[Deployment], workers_by_id: Mapping[str, Worker], held: Mapping[str, list[conditions.Held]], now: float
) -> Iterator[r.Deployment]:
    """Every deployment of a fleet that was read whole, without secrets and without logs."""
    shown = publication.shown(found, workers_by_id, now, publication.claims_of(found, workers_by_id, now))
    for deployment in found:
        worker_id = str(deployment.worker_id)
        endpoint = shown.get(str(deployment.deployment_id))
        made = _view(deployment, workers_by_id.get(worker_id), held.get(worker_id, []), endpoint, NOBODY, now)
        if made.last_crash:
            made.last_crash.logs = ""
        yield made


def _matching(query: r.DeploymentsQuery) -> Callable[[Deployment], bool]:
    def keep(deployment: Deployment) -> bool:
        return (
            query.status in (None, deployment.status)
            and query.worker_id in (None, deployment.worker_id)
            and query.name in (None, deployment.name)
            and query.model in (None, gpu_claims.spec_of(deployment).model)
        )

    return keep


def _view(
    deployment: Deployment,
    worker: Worker | None,
    held: list[conditions.Held],
    shown: publication.Shown | None,
    viewer: Principal,
    now: float,
) -> r.Deployment:
    spec = gpu_claims.spec_of(deployment)
    serves = shown.serves if shown else None
    conflict = shown.conflict if shown else None
    view = r.Deployment(
        deployment_id=deployment.deployment_id,
        name=deployment.name,
        model=spec.model,
        backend=spec.backend,
        config=without_credentials(spec.config),
        image=spec.image,
        env=sorted(spec.env),
        gpus=spec.gpus,
        restart=spec.restart,
        selector=spec.selector,
        worker_id=deployment.worker_id,
        gpu_indexes=msgspec.json.decode(deployment.gpu_indexes, type=list[int]),
        generation=int(deployment.generation),
        desired=deployment.desired,  # type: ignore[arg-type]
        status=Status(deployment.status),
        status_as_of=when(worker.heartbeat.last_seen if worker else deployment.status_at),
        reachable=worker.online(now) if worker else deployment.worker_id is None,
        message=deployment.message,
        error_code=deployment.error_code,
        progress=msgspec.json.decode(deployment.progress, type=m.Progress) if deployment.progress else None,
        container_id=deployment.container_id,
        port=int(deployment.port) if deployment.port else None,
        endpoint=shown.endpoint if shown else None,
        endpoint_problem=shown.problem if shown else None,
        serving_generation=serves.generation if serves else None,
        serving_worker_id=serves.worker_id if serves else None,
        served_model_name=serves.model if serves else served_model_name(spec.model, spec.config),
        restarts=int(deployment.restarts),
        last_crash=_crash(deployment),
        created_at=when(deployment.created_at),
        updated_at=when(deployment.updated_at),
        crash_loop=crash_loops.of(deployment, now),
        conditions=conditions.views(
            conditions.merged((condition for condition in held if condition.holds_up(deployment)), conflict)
        ),
    )
    own_key = serves.own_key if serves else "VLLM_API_KEY" in spec.env
    if viewer.access >= Access.OPERATOR and not own_key:
        view.api_key = deployment.api_key
    return view


def _crash(deployment: Deployment) -> r.Crash | None:
    if deployment.last_crash is None:
        return None
    return msgspec.json.decode(zlib.decompress(bytes(deployment.last_crash)), type=r.Crash)


def kept_logs(deployment: Deployment, now: float) -> m.Logs | None:
    """What came with the error report, where nobody can be asked for more: the worker is silent, or keeps no logs."""
    crash = _crash(deployment)
    if crash is None or not crash.logs or deployment.status != Status.ERROR:
        return None
    worker = workers.several([deployment.worker_id]).get(deployment.worker_id) if deployment.worker_id else None
    answers = worker is not None and worker.online(now) and worker.heartbeat.journal is not None
    return None if answers else m.Logs(crash.logs)
