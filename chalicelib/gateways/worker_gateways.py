"""The gateways that serve a worker which knows tunnels, each with a ticket."""

from __future__ import annotations

import msgspec

from chalicelib.fleet import address_claims
from chalicelib.gateways import records, selectors, ticket_keys
from chalicelib.store import settings
from chalicelib.store.items import find
from chalicelib.store.tables import WorkerRecord
from muster.api import messages as m
from muster.api import tickets
from muster.api.tickets import Claims

POLLS_TO_LEAVE = 2
"""After so many polls every gateway has seen that a model which it reaches directly is to stop."""


def of(worker_id: str, session: int, now: float) -> m.Gateways:
    """With tickets for the session. Where there is no gateway, this reads nothing of the worker."""
    current = records.CACHE.current(now)
    worker = find(WorkerRecord, worker_id, "cold") if current else None
    if worker is None:
        return m.Gateways()
    labels = msgspec.json.decode(worker.labels, type=dict[str, str])
    version, master = ticket_keys.newest(now)
    found = []
    for record in current:
        if not selectors.accepts(selectors.parsed(record.selector), labels):
            continue
        claims = Claims(record.url, worker_id, session, now, now + tickets.LIFETIME_SECONDS)
        ticket = tickets.issue(tickets.derive(master, record.key_id), version, claims)
        found.append(m.WorkersGateway(record.url, ticket, tickets.LIFETIME_SECONDS))
    return m.Gateways(found, _direct_wait(worker))


def _direct_wait(worker: WorkerRecord) -> float:
    is_direct = bool(worker.address) and address_claims.is_pinned(worker)
    return POLLS_TO_LEAVE * settings.GATEWAY_POLL if is_direct else 0.0
