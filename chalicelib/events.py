"""Timelines: one line for each change, with who, what, when and why; kept for 30 days."""

from __future__ import annotations

import secrets

from chalicelib import paging
from chalicelib.contract import resources as r
from chalicelib.tables import Event
from chalicelib.times import when

KEPT = 30 * 86400


def record(subject: str, type_: str, message: str, by: str, now: float) -> None:
    """`subject` is a deployment's or a worker's id; `by` names the key, the worker or the control plane."""
    at = f"{now:017.6f}-{secrets.token_hex(3)}"
    Event(subject, at, type=type_, message=message[:2048], by=by, ttl=int(now + KEPT)).save()


def timeline(subject: str, query: r.PageQuery, now: float) -> r.Events:
    """Newest first."""
    start = paging.decode(query.next_token, ("subject", "at"), subject=subject)
    with paging.starting_from(start):
        found = Event.query(
            subject,
            filter_condition=Event.ttl > int(now),
            scan_index_forward=False,
            limit=query.limit,
            last_evaluated_key=start,
        )
        events = [r.Event(when(float(e.at.split("-")[0])), e.type, e.message, e.by) for e in found]
    more = found.last_evaluated_key if len(events) == query.limit else None
    return r.Events(events, paging.encode(more))
