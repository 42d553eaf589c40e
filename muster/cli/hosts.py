"""muster containers, images, pull, models, disk, prune: show and change the storage of a worker's host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from muster.api import messages as m
from muster.api import resources as r
from muster.cli import confirm, follow, names, text
from muster.cli.output import Cell
from muster.cli.shell import Shell, command

T = TypeVar("T")


def _ask(shell: Shell, worker: r.Worker, call: Callable[..., T], *, lines: bool = False, **given: Any) -> T:
    """Call a method of the client, and show progress while the worker answers."""
    with follow.answer(shell, worker.name, lines=lines) as watch:
        return call(worker.worker_id, watch=watch, **given)


def _show_deleted(shell: Shell, gone: m.Deleted) -> None:
    shell.show(gone, f"Deleted: {', '.join(gone.deleted) or 'nothing'}")


@command("containers", examples="muster containers gpu-1\nmuster containers gpu-1 --stop 30042842fa97")
@click.argument("worker")
@click.option("--stop", metavar="CONTAINER", help="Stop a container that Muster started, including orphans.")
@confirm.option
def containers(shell: Shell, worker: str, stop: str | None, yes: bool) -> None:
    """List the containers on a worker and their deployments."""
    found = names.worker(shell.client, worker)
    if stop:
        confirm.ask(shell, yes, f"Stop container {stop} on {found.name}?")
        ended = _ask(shell, found, shell.client.stop_container, container_id=stop)
        return shell.show(ended, f"{ended.name or stop} is {ended.state or 'ended'}")
    listed = _ask(shell, found, shell.client.containers)
    owners = names.of_deployments(shell.client.deployments()) if not shell.json else {}
    rows: list[tuple[Cell, ...]] = [
        (
            container.id[:12],
            _owner(container, owners),
            container.state,
            container.image or None,
            container.name,
        )
        for container in listed.containers
    ]
    shell.table(listed, "container model state image name", rows, f"No containers on {found.name}.")


@command(
    "images",
    examples="""
    muster images gpu-1
    muster images gpu-1 --fresh -o json
    muster images gpu-1 --delete vllm/vllm-openai:v0.9.0 --yes
    """,
)
@click.argument("worker")
@click.option("--fresh", is_flag=True, help="Ask the worker instead of using its last report.")
@click.option("--delete", metavar="IMAGE", help="Delete an image, by id or reference.")
@confirm.option
def images(shell: Shell, worker: str, fresh: bool, delete: str | None, yes: bool) -> None:
    """List the images on a worker."""
    found = names.worker(shell.client, worker)
    if delete:
        confirm.ask(shell, yes, f"Delete {delete} from {found.name}?")
        return _show_deleted(shell, _ask(shell, found, shell.client.delete_image, image=delete))
    listed = _ask(shell, found, shell.client.images, fresh=fresh)
    rows: list[tuple[Cell, ...]] = [
        (_tags(image), text.size(image.size), image.created[:10], str(len(image.used_by)), _id(image))
        for image in listed.images
    ]
    shell.table(listed, "tags size created used_by id", rows, f"No images: muster pull {found.name} IMAGE")


def _owner(container: m.Container, names_: dict[str, str]) -> str:
    """The name of the deployment that the container belongs to, by the names of deployments."""
    if container.deployment_id:
        return names_.get(container.deployment_id, container.deployment_id)
    return "orphan" if container.ours else "not Muster's"


def _tags(image: m.Image) -> str:
    return ", ".join(image.tags) or "none"


def _id(image: m.Image) -> str:
    return image.id.removeprefix("sha256:")[:12]


@command(
    "pull",
    examples="muster pull gpu-1 vllm/vllm-openai:v0.11.0\nmuster pull gpu-1 vllm/vllm-openai:latest --no-wait",
)
@click.argument("worker")
@click.argument("image")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the image; show progress.")
def pull(shell: Shell, worker: str, image: str, wait: bool) -> None:
    """Pull an image on a worker before a deployment needs it."""
    found = names.worker(shell.client, worker)
    if not wait:
        asked = shell.client.operation(shell.client.begin_pull(found.worker_id, image))
        return shell.show(asked, f"Requested from {found.name}: muster ops show {names.short(asked.operation_id)}")
    pulled = _ask(shell, found, shell.client.pull_image, lines=True, image=image)
    shell.show(pulled, f"{found.name} has {', '.join(pulled.tags) or pulled.id}")


@command("models", examples="muster models gpu-1\nmuster models gpu-1 --delete Qwen/Qwen3-0.6B --yes")
@click.argument("worker")
@click.option("--delete", metavar="MODEL", help="Delete the weights of a model.")
@confirm.option
def models(shell: Shell, worker: str, delete: str | None, yes: bool) -> None:
    """List the models whose weights are in a worker's cache."""
    found = names.worker(shell.client, worker)
    if delete:
        confirm.ask(shell, yes, f"Delete the weights of {delete} from {found.name}?")
        return _show_deleted(shell, _ask(shell, found, shell.client.delete_model, model=delete))
    listed = _ask(shell, found, shell.client.models)
    rows: list[tuple[Cell, ...]] = [(model.model, text.size(model.size)) for model in listed.models]
    shell.table(listed, "model size", rows, f"{found.name} has no weights in its cache.")


@command("disk", examples="muster disk\nmuster disk gpu-1\nmuster disk gpu-1 -o json")
@click.argument("worker", required=False)
def disk(shell: Shell, worker: str | None) -> None:
    """Show the disks of a worker by folder, or the free space of all workers."""
    if worker is None:
        every = list(shell.client.workers())
        told: list[tuple[Cell, ...]] = [
            (worker.name, *_figures(worker.disk), f"{worker.disk.percent:.0f} %") for worker in every if worker.disk
        ]
        return shell.table(r.Workers(every), "worker free total used full", told, "No worker has reported disk usage.")
    found = names.worker(shell.client, worker)
    seen = _ask(shell, found, shell.client.disk)
    folders = seen.paths or [m.DiskPath("", "all", seen.total, seen.used, seen.free)]
    rows: list[tuple[Cell, ...]] = [(folder.purpose, *_figures(folder), folder.path) for folder in folders]
    shell.table(seen, "for free total used folder", rows, "")


def _figures(disk: m.Disk | m.DiskPath) -> tuple[str, str, str]:
    return text.size(disk.free), text.size(disk.total), text.size(disk.used)


@command(
    "prune",
    examples="""
    muster prune gpu-1 --dry-run
    muster prune gpu-1 --images --containers --yes
    """,
)
@click.argument("worker")
@click.option("--images", is_flag=True, help="Delete images that Muster pulled and nothing uses.")
@click.option("--containers", is_flag=True, help="Delete ended containers that Muster started.")
@click.option("--volumes", is_flag=True, help="Delete volumes with Muster's label that nothing uses.")
@click.option("--dry-run", is_flag=True, help="Only show what would be deleted.")
@confirm.option
def prune(shell: Shell, worker: str, dry_run: bool, yes: bool, **kinds: bool) -> None:
    """Delete unused images, containers, and volumes that Muster left on a worker.

    Without --images, --containers, and --volumes, deletes all three kinds.
    """
    found = names.worker(shell.client, worker)
    chosen = kinds if any(kinds.values()) else dict.fromkeys(kinds, True)
    wanted = r.PruneRequest(**chosen, dry_run=dry_run)
    if not dry_run:
        confirm.ask(shell, yes, f"Free disk on {found.name}?")
    pruned = _ask(shell, found, shell.client.prune, wanted=wanted)
    verb = "Would free" if dry_run else "Freed"
    shell.show(pruned, f"{verb} {text.size(pruned.space_reclaimed)} on {found.name}")
    if not shell.json:
        for kept in pruned.kept:
            shell.note(text.line(f"kept {kept.what} ({text.size(kept.bytes)}): {kept.why}"))


COMMANDS = (containers, images, pull, models, disk, prune)
