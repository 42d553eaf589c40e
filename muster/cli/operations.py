"""muster ops: the operations of workers, and their results."""

from __future__ import annotations

import click

from muster.api import resources as r
from muster.cli import follow, names, text
from muster.cli.output import Cell
from muster.cli.progress import how_far
from muster.cli.shell import FAILED, Group, Shell, Stop, command


@click.group(cls=Group, default="list")
def ops() -> None:
    """Operations of workers: list, show, cancel."""


@command("list", of=ops, examples="muster ops\nmuster ops list gpu-1\nmuster ops list gpu-1 -o json")
@click.argument("worker", required=False)
def list_(shell: Shell, worker: str | None) -> None:
    """List the open operations of a worker, or of all workers."""
    client = shell.client
    asked = [names.worker(client, worker)] if worker else list(client.workers())
    found = [(operation, place.name) for place in asked for operation in client.operations(place.worker_id)]
    now = shell.wall()
    rows: list[tuple[Cell, ...]] = [
        (
            names.short(operation.operation_id),
            place,
            operation.type,
            operation.status,
            how_far(operation.progress) if operation.progress else "",
            text.ago(operation.created_at, now),
        )
        for operation, place in found
    ]
    value = r.Operations([operation for operation, _ in found])
    shell.table(value, "id worker type status progress age", rows, "No open operations.")


@command("show", of=ops, examples="muster ops show b721e252-5204-4a2d-ba7b-a70e250f2f08\nmuster ops show b721e252")
@click.argument("operation")
@click.option("--wait", is_flag=True, help="Wait until the operation has ended.")
def show(shell: Shell, operation: str, wait: bool) -> None:
    """Show an operation. By its full id also after the operation has ended, for 7 days."""
    found = _find(shell, operation)
    if wait:
        with follow.answer(shell, shell.client.worker(found.worker_id).name, lines=True) as watch:
            for seen in shell.client.watch_operation(found.operation_id):
                watch(seen)
        found = shell.client.operation(found.operation_id)
    far = f", {how_far(found.progress)}" if found.progress and found.output is None else ""
    shell.show(found, f"{found.type} {names.short(found.operation_id)}: {found.status}{far}")
    if found.error_code:
        raise Stop(f"{found.error_code}: {found.message or 'no message'}", FAILED)


@command("cancel", of=ops, examples="muster ops cancel b721e252")
@click.argument("operation")
def cancel(shell: Shell, operation: str) -> None:
    """Cancel an operation that was not sent to its worker yet."""
    found = _find(shell, operation)
    shell.show(shell.client.cancel_operation(found.operation_id), f"{found.type} is cancelled")


def _find(shell: Shell, ref: str) -> r.Operation:
    """The operation with that id, or the open operation whose id begins with `ref`."""
    client = shell.client
    if len(ref) == 36:
        return client.operation(ref)
    every = (operation for worker in client.workers() for operation in client.operations(worker.worker_id))
    return names.operation(every, ref)


COMMANDS = (ops,)
