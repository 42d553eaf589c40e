"""All workers and deployments, kept up to date by what changed: for commands that look again and again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from muster.api import resources as r
from muster.api.structs import Value
from muster.client import Client
from muster.exceptions import NotFound

AnyWorker = r.Worker | r.FleetWorker


class Seen(Value, frozen=True):
    """Workers by name, and deployments in the order in which they were made."""

    workers: Sequence[AnyWorker]
    deployments: Sequence[r.Deployment]


class FleetView:
    """What `Client.fleet` answered so far. A control plane of 0.1.0 has no such route, and is asked for its lists."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._token: str | None = None
        self._workers: dict[str, r.FleetWorker] = {}
        self._deployments: dict[str, r.Deployment] = {}

    def look(self) -> Seen:
        """Everything as of a few seconds ago. Raises MusterError."""
        try:
            found = self._client.fleet(self._token)
        except NotFound:
            return listed(self._client)
        if found.full:
            self._workers, self._deployments = {}, {}
        self._workers |= {worker.worker_id: worker for worker in found.workers}
        self._deployments |= {deployment.deployment_id: deployment for deployment in found.deployments}
        _forget(self._workers, found.gone_workers)
        _forget(self._deployments, found.gone_deployments)
        self._token = found.token
        return Seen(
            sorted(self._workers.values(), key=lambda worker: worker.name),
            sorted(self._deployments.values(), key=lambda deployment: deployment.created_at),
        )


def listed(client: Client) -> Seen:
    """Everything as of now, from the lists. Raises MusterError."""
    return Seen(list(client.workers()), list(client.deployments()))


def _forget(rows: dict[str, r.FleetWorker] | dict[str, r.Deployment], gone: Iterable[str]) -> None:
    for key in gone:
        rows.pop(key, None)
