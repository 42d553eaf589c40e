"""What a heartbeat reports of the worker itself: its lists, that it is back online, and whether it drains."""

from __future__ import annotations

import zlib

import msgspec
from pynamodb.expressions.update import Action

from chalicelib.fleet import capacity
from chalicelib.reconcile.reconcile_run import ReconcileRun
from chalicelib.scheduling import scheduler
from chalicelib.store import events
from chalicelib.store.tables import WorkerHeartbeat, WorkerReport
from muster.api import messages as m
from muster.api.sizes import fitting

MAX_IMAGES = 1024
MAX_LIST_BYTES, MAX_IMAGES_BYTES = 64 * 1024, 160 * 1024
"""Of each list of ids or folders, and of the images: together with the rest of the item, less than it may hold."""


def store_lists(run: ReconcileRun, known_ids: set[str], changed: bool) -> None:
    """Store what only people ask for: what runs there, which of it is unknown here, the images and the folders."""
    actions: list[Action] = []
    if changed:
        active = sorted(set(run.body.active_deployments))
        reported = {orphan.deployment_id for orphan in run.body.orphans or []}
        orphans = sorted({*active, *reported}.difference(known_ids))
        listed = [fitting(ids, MAX_LIST_BYTES) for ids in (active, orphans)]
        actions += [WorkerReport.active.set(_json(listed[0])), WorkerReport.orphans.set(_json(listed[1]))]
    if run.body.images is not None:
        images = zlib.compress(msgspec.json.encode(fitting(run.body.images[:MAX_IMAGES], MAX_IMAGES_BYTES)))
        actions += [WorkerReport.images.set(images), WorkerReport.images_at.set(run.now)]
    if run.body.disk is not None and run.body.disk.paths is not None:
        actions.append(WorkerReport.paths.set(_json(fitting(run.body.disk.paths, MAX_LIST_BYTES))))
    if actions:
        WorkerReport(run.worker_id, part="seen").update(actions=actions)


def record_return(run: ReconcileRun) -> None:
    """Record once that the worker is online again, and place the deployments that wait."""
    returned = [WorkerHeartbeat.down_since.remove(), WorkerHeartbeat.lost.remove()]
    if capacity.follow(run.worker_id, returned, WorkerHeartbeat.down_since == run.heartbeat.down_since, down=None):
        about = events.About(worker_id=run.worker_id)
        events.record(about, "online", "heard of again", events.CONTROL_PLANE, run.now)
        scheduler.place_waiting(run.now, on=run.worker_id)


def drain_changed(heartbeat: WorkerHeartbeat, body: m.Heartbeat) -> bool:
    """Whether the worker began or ended to drain by itself since its timeline last recorded it.

    A goodbye ("offline") says neither.
    """
    return body.status != "offline" and (body.status == "draining") != bool(heartbeat.drains)


def record_drain_change(run: ReconcileRun) -> None:
    drains = run.body.status == "draining"
    actions: list[Action] = [WorkerHeartbeat.drains.set(True) if drains else WorkerHeartbeat.drains.remove()]
    is_news = WorkerHeartbeat.drains.does_not_exist() if drains else WorkerHeartbeat.drains.exists()
    if capacity.follow(run.worker_id, actions, is_news, drains=drains or None):
        line = ("draining", "nothing new is placed here") if drains else ("undrained", "open again")
        events.record(events.About(worker_id=run.worker_id), *line, f"worker {run.worker_id}", run.now)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
