"""Where Prometheus finds the models' own metrics (its http_sd): vLLM serves them beside its API, without a key."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from chalicelib.deployments import publication
from chalicelib.fleet import scan
from chalicelib.fleet.workers import Worker
from chalicelib.scheduling import gpu_claims
from chalicelib.store.tables import Deployment
from muster.api import resources as r

PORTS = {"http": 80, "https": 443}


def targets(now: float) -> list[r.ScrapeTarget]:
    """What serves, has an endpoint, and is on a worker that was heard of lately."""
    workers, deployments = scan.workers(), scan.deployments()
    shown = publication.shown(deployments, workers, now, publication.claims_of(deployments, workers, now))
    found = []
    for deployment in deployments:
        seen = shown.get(str(deployment.deployment_id))
        worker = workers.get(seen.serves.worker_id) if seen else None
        place = _place(seen.endpoint) if seen and seen.endpoint and worker and worker.online(now) else None
        if place and worker:
            target, where = place
            found.append(r.ScrapeTarget([target], where | _labels(deployment, worker)))
    return found


def _place(endpoint: str) -> tuple[str, dict[str, str]] | None:
    """Host and port, and what to ask there; None for an address that its host's owner mistyped."""
    try:
        url = urlsplit(endpoint)
        port = url.port or PORTS.get(url.scheme)
    except ValueError:
        return None
    host = url.hostname or ""
    if url.scheme not in PORTS or not re.fullmatch(r"[\w.:-]+", host, re.ASCII):
        return None
    where = {"__scheme__": url.scheme, "__metrics_path__": f"{url.path.rstrip('/')}/metrics"}
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}", where


def _labels(deployment: Deployment, worker: Worker) -> dict[str, str]:
    """Those that begin with __meta_ are for relabelling, and gone after it."""
    labels = {
        "muster_deployment": str(deployment.name),
        "muster_deployment_id": str(deployment.deployment_id),
        "model": gpu_claims.spec_of(deployment).model,
        "worker": str(worker.record.name),
    }
    meta = {"__meta_muster_label_" + re.sub(r"\W", "_", name, flags=re.ASCII): v for name, v in worker.labels.items()}
    return labels | meta
