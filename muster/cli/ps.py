"""muster ps: the deployments in a table, and the words of a deployment's status."""

from __future__ import annotations

from datetime import datetime

import click

from muster.api import crash_loops
from muster.api import resources as r
from muster.api.lifecycle import LIVE, Status
from muster.cli import names, text
from muster.cli.output import Cell, Styled
from muster.cli.progress import how_far, waits_in_loop
from muster.cli.shell import Shell, command

NO_ADDRESS = "local only: no address"
NO_ENDPOINT = "none: see muster show"
STYLES = {Status.RUNNING: "green", Status.ERROR: "red", Status.STOPPED: "dim"}


@command("ps", examples="muster ps\nmuster ps --on gpu-1\nmuster ps --status error -o json")
@click.option("--on", "worker", metavar="WORKER", help="Only this worker.")
@click.option("--status", type=click.Choice([status.value for status in Status]), help="Only this status.")
def ps(shell: Shell, worker: str | None, status: str | None) -> None:
    """List the deployments with their status, worker, and endpoint."""
    client = shell.client
    on = names.worker(client, worker).worker_id if worker else None
    found = list(client.deployments(worker_id=on, status=Status(status) if status else None))
    workers = names.of_workers(client) if found and not shell.json else {}
    now = shell.wall()
    shell.table(
        r.Deployments(found),
        "name status model worker gpus endpoint age id",
        [row(deployment, workers, now) for deployment in found],
        "No deployments: muster deploy MODEL",
    )


def row(deployment: r.Deployment, workers: dict[str, str], now: datetime) -> tuple[Cell, ...]:
    return (
        deployment.name,
        Styled(text.line(status_of(deployment, now)), _style(deployment)),
        deployment.model,
        workers.get(deployment.worker_id, names.short(deployment.worker_id)) if deployment.worker_id else None,
        gpus_of(deployment),
        endpoint_of(deployment),
        text.ago(deployment.created_at, now),
        names.short(deployment.deployment_id),
    )


def _style(deployment: r.Deployment) -> str:
    return "red" if waits_in_loop(deployment) else STYLES.get(deployment.status, "yellow")


def status_of(deployment: r.Deployment, now: datetime) -> str:
    """running (unreachable 12m), downloading: 32 %, pending: no place, running (GpuLost), error: CUDA_OUT_OF_MEMORY.

    A crash loop that waits is crash loop: CUDA_OUT_OF_MEMORY, next start in 40 s; a start of it has that in brackets.
    """
    status, loop = deployment.status.value, deployment.crash_loop
    if deployment.desired == "stopped" and deployment.status in LIVE:
        status = "stopping"
    elif deployment.status is Status.ERROR and deployment.error_code:
        status += f": {deployment.error_code}"
    elif deployment.status is Status.PENDING and deployment.worker_id is None:
        status += ": no place"
    elif loop and waits_in_loop(deployment):
        status = crash_loops.words(loop)
    elif deployment.progress and deployment.status in LIVE:
        status += f": {how_far(deployment.progress)}"
    if not deployment.reachable and deployment.status in LIVE:
        status += f" (unreachable {text.ago(deployment.status_as_of, now)})"
    if loop and deployment.status in LIVE and not waits_in_loop(deployment):
        status += f" ({crash_loops.words(loop)})"
    if deployment.restarts and deployment.status in LIVE:
        status += f" (restarts: {deployment.restarts})"
    if deployment.conditions and deployment.status in LIVE:
        status += f" ({', '.join(condition.type for condition in deployment.conditions)})"
    return status


def gpus_of(deployment: r.Deployment) -> str:
    """Those that it has, else those that it wants."""
    if deployment.gpu_indexes:
        return ",".join(map(str, deployment.gpu_indexes))
    return f"{deployment.gpus} wanted" if deployment.gpus else "none"


def endpoint_of(deployment: r.Deployment) -> str | None:
    """Also of an instance that serves while a change is prepared."""
    if deployment.endpoint_problem is not None:
        return NO_ENDPOINT
    return deployment.endpoint or (NO_ADDRESS if deployment.status is Status.RUNNING else None)


COMMANDS = (ps,)
