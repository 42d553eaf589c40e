"""Deployments as operators see them: the stored item, and what its worker adds to it at this moment."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import msgspec

from chalicelib import claims, conditions, fleet, paging
from chalicelib.contract import messages as m
from chalicelib.contract import resources as r
from chalicelib.contract.credentials import without_credentials
from chalicelib.contract.endpoints import Access
from chalicelib.contract.lifecycle import Status
from chalicelib.fleet import Machine
from chalicelib.tables import Deployment
from chalicelib.times import when
from chalicelib.tokens import Principal


def one(deployment: Deployment, viewer: Principal, now: float) -> r.Deployment:
    machine = fleet.several([deployment.worker_id]).get(deployment.worker_id) if deployment.worker_id else None
    held = conditions.of([machine])[machine.worker_id] if machine else []
    return _view(deployment, machine, held, viewer, now)


def several(query: r.DeploymentsQuery, viewer: Principal, now: float) -> r.Deployments:
    found, next_token = paging.page(Deployment, "deployment", query, _matching(query))
    machines = fleet.several([str(d.worker_id) for d in found if d.worker_id])
    held = conditions.of(machines.values())
    listed = [_view(d, machines.get(str(d.worker_id)), held.get(str(d.worker_id), []), viewer, now) for d in found]
    return r.Deployments(listed, next_token)


def _matching(query: r.DeploymentsQuery) -> Callable[[Deployment], bool]:
    def keep(deployment: Deployment) -> bool:
        return (
            query.status in (None, deployment.status)
            and query.worker_id in (None, deployment.worker_id)
            and query.name in (None, deployment.name)
            and query.model in (None, claims.spec_of(deployment).model)
        )

    return keep


def _view(
    deployment: Deployment, machine: Machine | None, held: list[conditions.Held], viewer: Principal, now: float
) -> r.Deployment:
    spec = claims.spec_of(deployment)
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
        status_as_of=when(machine.hot.last_seen if machine else deployment.status_at),
        reachable=machine.online(now) if machine else deployment.worker_id is None,
        message=deployment.message,
        error_code=deployment.error_code,
        progress=msgspec.json.decode(deployment.progress, type=m.Progress) if deployment.progress else None,
        container_id=deployment.container_id,
        port=int(deployment.port) if deployment.port else None,
        endpoint=endpoint(deployment, machine),
        served_model_name=served_model_name(spec.model, spec.config),
        restarts=int(deployment.restarts),
        last_crash=_crash(deployment),
        created_at=when(deployment.created_at),
        updated_at=when(deployment.updated_at),
        conditions=conditions.views(each for each in held if each.holds_up(deployment)),
    )
    if viewer.access >= Access.OPERATOR and "VLLM_API_KEY" not in spec.env:
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
    machine = fleet.several([deployment.worker_id]).get(deployment.worker_id) if deployment.worker_id else None
    answers = machine is not None and machine.online(now) and machine.hot.journal is not None
    return None if answers else m.Logs(crash.logs)


def endpoint(deployment: Deployment, machine: Machine | None) -> str | None:
    """The base URL of the model's API; null where its worker has no address or it does not run."""
    address = machine.cold.address if machine else None
    if not address or not deployment.port or deployment.status != Status.RUNNING:
        return None
    port = str(int(deployment.port))
    if "://" in address:
        return address.replace("{port}", port) if "{port}" in address else f"{address.rstrip('/')}:{port}"
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}"


def served_model_name(model: str, config: dict[str, Any]) -> str:
    """The name by which vLLM answers: the first `served_model_name`, else the model's own."""
    name = config.get("served_model_name")
    if isinstance(name, list):
        name = name[0] if name else None
    return name if isinstance(name, str) and name else model
