"""Lines about clients that asked for the name of an online worker: at most one an hour for each hostname.

A refused agent asks again every 90 seconds for as long as it runs, and a line is kept for 30 days. After 16 hostnames
in an hour further ones get no line: hostnames cost an attacker nothing.
"""

from __future__ import annotations

import msgspec

from chalicelib.fleet.workers import Worker
from chalicelib.store import events
from chalicelib.store.items import find, put_if
from chalicelib.store.tables import Refusals
from chalicelib.store.times import when

LINE_EVERY_SECONDS = 3600.0
MAX_LINES_PER_HOUR = 16


def note(worker: Worker, type_: str, hostname: str, outcome: str, now: float) -> None:
    """Record on the worker's timeline who asked for its name, and when, unless that was recorded in the last hour."""
    before = find(Refusals, worker.worker_id, Refusals.PART)
    noted = msgspec.json.decode(before.noted, type=dict[str, float]) if before else {}
    recent = {name: at for name, at in noted.items() if 0 <= now - at < LINE_EVERY_SECONDS}
    subject = f"{type_} {hostname}"
    if subject in recent or len(recent) >= MAX_LINES_PER_HOUR:
        return
    after = msgspec.json.encode({**recent, subject: now}).decode()
    unchanged = Refusals.noted == before.noted if before else Refusals.worker_id.does_not_exist()
    if put_if(Refusals(worker.worker_id, noted=after), unchanged):
        at = when(now).isoformat(timespec="seconds").replace("+00:00", "Z")
        events.record(
            worker.about, type_, f"{hostname} asked for this name at {at}: {outcome}", events.CONTROL_PLANE, now
        )
