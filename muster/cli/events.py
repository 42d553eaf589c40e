"""muster events: the timeline of a deployment, of a worker, or of the fleet."""

from __future__ import annotations

from itertools import islice

import click

from muster.api import resources as r
from muster.cli import names, text
from muster.cli.output import Cell, Styled
from muster.cli.shell import INTERRUPTED, NOT_FOUND, Shell, Stop, command
from muster.client import About
from muster.exceptions import Unreachable

FAILURES = ("error", "offline", "lost", "removed")
POLL_SECONDS = 2.0
"""Seconds between two requests while a timeline is followed."""


@command(
    "events",
    examples="""
    muster events
    muster events qwen -f
    muster events gpu-1 -n 100
    muster events -f -o json
    """,
)
@click.argument("name", required=False)
@click.option("-f", "--follow", "follows", is_flag=True, help="Follow new events until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(1), default=50, show_default=True, help="Number of latest events.")
def events(shell: Shell, name: str | None, follows: bool, lines: int) -> None:
    """Show the events of a deployment, of a worker, or of the fleet.

    The newest event is last.
    """
    about = _about(shell, name) if name else {}
    if not follows:
        found = list(islice(shell.client.events(**about), lines))
        rows = [_row(event) for event in reversed(found)]
        return shell.table(r.Events(found), "at type about message by", rows, "No events.")
    try:
        seen, cursor = shell.client.events_since(None, **about)
        _show(shell, seen[-lines:])
        while True:
            shell.clock.sleep(POLL_SECONDS)
            try:
                seen, cursor = shell.client.events_since(cursor, **about)
            except Unreachable:
                continue  # it is asked again, and nothing is missed meanwhile
            _show(shell, seen)
    except KeyboardInterrupt as error:
        raise Stop("stopped following", INTERRUPTED) from error


def _about(shell: Shell, name: str) -> About:
    """Prefer the deployment to a worker of the same name. Raises Stop."""
    try:
        return {"deployment_id": names.deployment(shell.client, name).deployment_id}
    except Stop as stop:
        if stop.exit_code != NOT_FOUND:
            raise
    try:
        return {"worker_id": names.worker(shell.client, name).worker_id}
    except Stop as stop:
        if stop.exit_code != NOT_FOUND:
            raise
        message = f"there is no deployment and no worker {name!r}; muster ps and muster workers list them"
        raise Stop(message, NOT_FOUND) from stop


def _row(event: r.Event) -> tuple[Cell, ...]:
    about = event.deployment_name or event.worker_name or ""
    if event.deployment_name and event.worker_name:
        about = f"{event.deployment_name} on {event.worker_name}"
    kind = Styled(text.line(event.type), "red" if event.type.startswith(FAILURES) else "")
    return f"{event.at:%Y-%m-%d %H:%M:%S}", kind, about, event.message, event.by


def _show(shell: Shell, events: list[r.Event]) -> None:
    """Oldest first, a line each."""
    for event in events:
        if shell.json:
            shell.dump_line(event)
        else:
            at, kind, about, message, by = _row(event)
            parts = [f"{at}  ", kind, f"  {about}  {message}  ({by})"]
            shell.out.line(*(part if isinstance(part, Styled) else text.line(part or "") for part in parts))


COMMANDS = (events,)
