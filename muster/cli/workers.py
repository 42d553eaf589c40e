"""muster workers: list, show, label, drain, declare lost, remove."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import click

from muster.api import resources as r
from muster.api.lifecycle import LIVE
from muster.api.messages import GpuDevice, SystemInfo
from muster.cli import attention, confirm, names, pairs, text
from muster.cli.output import Cell, Styled
from muster.cli.shell import Group, Shell, command

STYLES = {"online": "green", "draining": "yellow", "offline": "red"}


@click.group(cls=Group, default="list")
def workers() -> None:
    """Manage workers: list, show, label, drain, lost, remove."""


@command("list", of=workers, examples="muster workers\nmuster workers list -o json")
def list_(shell: Shell) -> None:
    """List the workers by name. A column shows the types of conditions, if there are any."""
    found = list(shell.client.workers())
    now = shell.wall()
    attends = any(worker.conditions for worker in found)
    models = _models(shell, found) if found and not shell.json else {}
    shell.table(
        r.Workers(found),
        "name status seen gpus free disk_free models address id" + " attention" * attends,
        [_row(worker, models, now) + (attention.types(worker.conditions),) * attends for worker in found],
        "No workers: muster join prints the command that adds one.",
    )


def _models(shell: Shell, found: list[r.Worker]) -> dict[str, set[str]]:
    """The ids of the deployments that each worker has, by the worker's id: those that hold GPUs, and those without."""
    models = {worker.worker_id: set(worker.gpu_claims.values()) for worker in found}
    for deployment in shell.client.deployments():
        if deployment.worker_id in models and deployment.status in LIVE:
            models[deployment.worker_id].add(deployment.deployment_id)
    return models


def _row(worker: r.Worker, models: dict[str, set[str]], now: datetime) -> tuple[Cell, ...]:
    return (
        worker.name,
        Styled(worker.status, STYLES[worker.status]),
        text.ago(worker.last_seen, now),
        gpus(worker),
        str(free(worker)),
        text.size(worker.disk.free) if worker.disk else None,
        str(len(models.get(worker.worker_id, ()))),
        worker.address or "none",
        names.short(worker.worker_id),
    )


def free(worker: r.Worker) -> int:
    """The number of GPUs that work and that no deployment holds."""
    if not worker.gpu_info.devices:
        return max(0, worker.gpu_info.count - len(worker.gpu_claims))
    return sum(holder(gpu, worker, {}) == "free" for gpu in worker.gpu_info.devices)


def holder(device: GpuDevice, worker: r.Worker | r.FleetWorker, names_: dict[str, str]) -> str:
    """The deployment that holds the GPU, by name where `names_` has it by id; "free"; or that the GPU is lost."""
    claim = worker.gpu_claims.get(str(device.index))
    holder = names_.get(claim, claim) if claim else None
    if device.lost:
        return f"lost, held by {holder}" if holder else "lost"
    return holder or "free"


def gpus(worker: r.Worker) -> str:
    """2x NVIDIA H100."""
    kinds = [device.name or "GPU" for device in worker.gpu_info.devices] or ["GPU"] * worker.gpu_info.count
    return ", ".join(f"{kinds.count(kind)}x {kind}" for kind in sorted(set(kinds))) or "none"


@command("show", of=workers, examples="muster workers show gpu-1\nmuster workers show 9a03e0ea -o json")
@click.argument("worker")
def show(shell: Shell, worker: str) -> None:
    """Show a worker: conditions, GPUs, disk, host."""
    detail(shell, names.worker(shell.client, worker))


def detail(shell: Shell, found: r.Worker) -> None:
    """Show all that is known of a worker."""
    if shell.json:
        return shell.dump(found)
    held = names.of_deployments(shell.client.deployments(worker_id=found.worker_id))
    facts = _facts(found, shell.wall())
    shell.say(*(f"{name:<12}{value}" for name, value in facts.items()))
    rows = gpu_rows(found, held)
    attention.section(shell, found.conditions, shell.wall())
    if rows:
        shell.say("")
        shell.table(None, "gpu name memory used busy held_by", rows, "")
    if found.orphans:
        shell.say("", f"Orphaned containers: {', '.join(found.orphans)}")


def gpu_rows(worker: r.Worker, held: dict[str, str]) -> list[tuple[Cell, ...]]:
    """A row for each GPU; a figure that is unknown is None, which a table shows as "-"."""
    usage = {gpu.index: gpu for gpu in worker.gpu_usage}
    rows: list[tuple[Cell, ...]] = []
    for device in worker.gpu_info.devices:
        used = usage.get(device.index)
        rows.append(
            (
                str(device.index),
                device.name or None,
                text.memory_if_known(device.memory_total or None),  # earlier agents say 0 where it is unknown
                text.memory_if_known(used.memory_used) if used else None,
                text.percent(used.utilization) if used else None,
                holder(device, worker, held),
            )
        )
    return rows


def _facts(worker: r.Worker, now: datetime) -> dict[str, str]:
    disk = worker.disk
    due = "" if worker.due_in is None else f"; next heartbeat in {worker.due_in} s"
    return {
        "name": worker.name,
        "id": worker.worker_id,
        "status": worker.status,
        "seen": f"{text.ago(worker.last_seen, now)} ago{due}",
        "address": (worker.address or "none: its models are reachable only from the host") + _pinned(worker),
        "labels": ", ".join(f"{key}={value}" for key, value in sorted(worker.labels.items())) or "none",
        "host": ", ".join(_host(worker.system_info)),
        "disk": f"{text.size(disk.free)} free of {text.size(disk.total)}" if disk else "not reported",
        "agent": worker.agent_version or "not reported",
        "since": text.ago(worker.registered_at, now),
    }


def _host(system: SystemInfo) -> Iterator[str]:
    """The known facts of the host: a basic client may leave out all but the name."""
    yield system.hostname
    if system.os:
        yield system.os
    if system.cpu_count:
        yield f"{system.cpu_count} CPUs"
    if system.memory_total:
        yield text.memory(system.memory_total)


def _pinned(worker: r.Worker) -> str:
    return " (set by an operator)" if worker.address_pinned else ""


@command(
    "label",
    of=workers,
    examples="""
    muster workers label gpu-1 zone=a rack=4
    muster workers label gpu-1 zone-
    muster workers label gpu-1 --address 10.0.0.7
    """,
)
@click.argument("worker")
@click.argument("labels", nargs=-1, metavar="[KEY=VALUE | KEY-]...")
@click.option("--address", metavar="HOST", help="Address of the worker's models, instead of the agent's. Empty: none.")
def label(shell: Shell, worker: str, labels: tuple[str, ...], address: str | None) -> None:
    """Set labels of a worker, which `deploy --selector` matches. KEY- removes a label."""
    if not labels and address is None:
        raise click.UsageError("nothing to change: give KEY=VALUE, KEY-, or --address")
    found = names.worker(shell.client, worker)
    patch = r.WorkerPatch()
    if labels:
        gone = {label[:-1] for label in labels if label.endswith("-") and "=" not in label}
        given = pairs.split([label for label in labels if label[:-1] not in gone or "=" in label], "label")
        patch.labels = {key: value for key, value in {**found.labels, **given}.items() if key not in gone}
    if address is not None:
        patch.address = address or None
    changed = shell.client.change_worker(found.worker_id, patch)
    shown = ", ".join(f"{key}={value}" for key, value in sorted(changed.labels.items())) or "no labels"
    shell.show(changed, f"{changed.name}: {shown}; address {changed.address or 'none'}")


@command("drain", of=workers, examples="muster workers drain gpu-1\nmuster workers drain gpu-1 --undo")
@click.argument("worker")
@click.option("--undo", is_flag=True, help="Allow placement on the worker again.")
def drain(shell: Shell, worker: str, undo: bool) -> None:
    """Place no new deployments on a worker. Running deployments continue."""
    found = names.worker(shell.client, worker)
    changed = shell.client.change_worker(found.worker_id, r.WorkerPatch(draining=not undo))
    shell.show(changed, f"{changed.name} is {changed.status}")


@command("lost", of=workers, examples="muster workers lost gpu-1 --yes")
@click.argument("worker")
@confirm.option
def lost(shell: Shell, worker: str, yes: bool) -> None:
    """Declare an offline worker lost.

    Its deployments can then be started elsewhere. If the worker comes back, so do its deployments.
    """
    found = names.worker(shell.client, worker)
    confirm.ask(shell, yes, f"Declare {found.name} lost, last seen {text.ago(found.last_seen, shell.wall())} ago?")
    answer = shell.client.lose_worker(found.worker_id)
    shell.show(answer, f"{answer.name} is declared lost; lost deployments: {len(answer.deployments_lost)}")


@command("remove", of=workers, examples="muster workers remove gpu-1\nmuster workers remove gpu-1 --force --yes")
@click.argument("worker")
@click.option("--force", is_flag=True, help="Also with live deployments; their containers keep running.")
@confirm.option
def remove(shell: Shell, worker: str, force: bool, yes: bool) -> None:
    """Remove a worker from the control plane. Its agent stops sending heartbeats."""
    found = names.worker(shell.client, worker)
    confirm.ask(shell, yes, f"Remove {found.name} ({found.status})?")
    answer = shell.client.remove_worker(found.worker_id, force=force)
    left = f"; containers left running: {', '.join(answer.containers_left)}" if answer.containers_left else ""
    shell.show(answer, f"{answer.name} is removed{left}")


COMMANDS = (workers,)
