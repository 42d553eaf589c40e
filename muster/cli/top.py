"""muster top: all GPUs and deployments, updated at an interval."""

from __future__ import annotations

import click
from msgspec import Struct
from rich.console import Group as Stack
from rich.live import Live
from rich.text import Text

from muster.api import resources as r
from muster.cli import attention, names, text
from muster.cli.fleet_view import AnyWorker, FleetView, Seen, listed
from muster.cli.output import Cell, Styled, table
from muster.cli.ps import row as model_row
from muster.cli.shell import Shell, command
from muster.cli.workers import STYLES, holder
from muster.exceptions import Unreachable

REFRESH_SECONDS = 2.0


class Top(Struct):
    """What is printed as JSON: whole resources, as of now."""

    workers: list[r.Worker]
    deployments: list[r.Deployment]


@command("top", examples="muster top\nmuster top --once\nmuster top -o json")
@click.option("--once", is_flag=True, help="Print once and exit, as without a terminal.")
@click.option(
    "--every", type=click.FloatRange(min=0.5), default=REFRESH_SECONDS, show_default=True, help="Interval in seconds."
)
def top(shell: Shell, once: bool, every: float) -> None:
    """Show all GPUs and deployments, updated until Ctrl-C."""
    if shell.json:
        return shell.dump(Top(list(shell.client.workers()), list(shell.client.deployments())))
    if once or not shell.out.is_terminal:
        return shell.out.console.print(_tables(shell, listed(shell.client), ""))
    view = FleetView(shell.client)
    seen = view.look()
    live = Live(_tables(shell, seen, ""), console=shell.out.console, screen=True, auto_refresh=False)
    try:
        live.start(refresh=True)
        while True:
            shell.clock.sleep(every)
            try:
                seen, words = view.look(), ""
            except Unreachable as error:
                words = error.message
            live.update(_tables(shell, seen, words), refresh=True)
    except KeyboardInterrupt:
        return None  # that is how it is meant to end, as soon as there is something to see
    finally:
        live.stop()  # not by `with`, which leaves the screen as it is where Ctrl-C comes while it is being set up


def _tables(shell: Shell, seen: Seen, words: str) -> Stack:
    now = shell.wall()
    held = names.of_deployments(seen.deployments)
    workers = {worker.worker_id: worker.name for worker in seen.workers}
    gpus = [row for worker in seen.workers for row in gpu_rows(worker, held)]
    models = [model_row(deployment, workers, now) for deployment in seen.deployments]
    online = sum(worker.status != "offline" for worker in seen.workers)
    head = f"{shell.client.url}  {now:%H:%M:%S} UTC  {online} of {len(seen.workers)} workers online"
    troubled = [f"{worker.name}: {attention.types(worker.conditions)}" for worker in seen.workers if worker.conditions]
    if troubled:
        head += f"  attention: {'; '.join(troubled)}"
    return Stack(
        Text(text.line(f"{head}  {words}"), "bold"),
        Text(),
        table("worker status gpu kind memory busy model", gpus) if gpus else Text("No workers yet: muster join"),
        Text(),
        table("model status runs worker gpus endpoint age id", models) if models else Text("No models yet"),
    )


def gpu_rows(worker: AnyWorker, held: dict[str, str]) -> list[tuple[Cell, ...]]:
    """A row for each GPU, or one that says that there is none."""
    status = Styled(worker.status, STYLES[worker.status])
    usage = {gpu.index: gpu for gpu in worker.gpu_usage}
    rows: list[tuple[Cell, ...]] = []
    for device in worker.gpu_info.devices:
        used = usage.get(device.index)
        total = device.memory_total or None  # earlier agents say 0 where it is unknown
        rows.append(
            (
                worker.name,
                status,
                str(device.index),
                device.name or None,
                text.memory_of(used.memory_used, total) if used else text.memory_if_known(total),
                text.percent(used.utilization) if used else None,
                holder(device, worker, held),
            )
        )
    return rows or [(worker.name, status, "none", "", "", "", "")]


COMMANDS = (top,)
