"""muster logs: the log of a deployment, or of a container."""

from __future__ import annotations

from dataclasses import dataclass

import click

from muster.api import messages as m
from muster.api.lifecycle import LIVE
from muster.cli import follow, names, text
from muster.cli.shell import INTERRUPTED, Shell, Stop, command
from muster.client import Watch
from muster.exceptions import Conflict, NotFound, Unreachable

MAX_LOG_LINES = 10000
POLL_SECONDS = 1.0
"""Seconds between two requests while a log is followed."""


@command(
    "logs",
    examples="""
    muster logs qwen
    muster logs qwen -f -n 20
    muster logs qwen --since 10m
    muster logs 30042842fa97 --on gpu-1
    """,
)
@click.argument("name")
@click.option("-f", "--follow", "follows", is_flag=True, help="Follow the log until the deployment ends, or Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(1, MAX_LOG_LINES),
    default=200,
    show_default=True,
    help="Number of lines at the end of the log.",
)
@click.option("--since", metavar="TIME", help="Start of the log: 10m (ago), or a time such as 2026-11-24T06:00:00Z.")
@click.option("--on", "worker", metavar="WORKER", help="NAME is a container on this worker, whoever started it.")
def logs(shell: Shell, name: str, follows: bool, lines: int, since: str | None, worker: str | None) -> None:
    """Show the log of a deployment's current or last container."""
    client = shell.client
    start = text.before(shell.wall(), since) if since else None
    if since and not start:
        raise click.UsageError(f"--since: expected 10m, or a time such as 2026-11-24T06:00:00Z, got {since!r}")
    if worker:
        place = names.worker(client, worker)
        source = Source(shell, place.name, name, place.worker_id)
    else:
        found = names.deployment(client, name)
        on = names.worker_of(client, found)
        source = Source(shell, on.name if on else "its worker", found.deployment_id)
    first = source.read(lines, start)
    if not follows:
        if shell.json:
            return shell.dump(first)
        return _show(shell, first)
    try:
        _follow(shell, source, first)
    except KeyboardInterrupt as error:
        raise Stop("stopped following", INTERRUPTED) from error


@dataclass(frozen=True)
class Source:
    """A deployment's log, or a container's of the worker `where`."""

    shell: Shell
    where: str
    id: str
    worker_id: str | None = None

    def read(self, lines: int, since: str | None) -> m.Logs:
        with follow.answer(self.shell, self.where) as watch:
            return self._ask(lines, since, watch)

    def read_on(self, since: str | None) -> m.Logs:
        """The log since `since`, without showing progress. `watch` keeps the route from waiting as long as it can."""
        return self._ask(MAX_LOG_LINES, since, lambda _: None)

    def _ask(self, lines: int, since: str | None, watch: Watch) -> m.Logs:
        client = self.shell.client
        if self.worker_id is None:
            return client.deployment_logs(self.id, lines=lines, since=since, watch=watch)
        return client.container_logs(self.worker_id, self.id, lines=lines, since=since, watch=watch)

    @property
    def goes_on(self) -> bool:
        """Whether the log may still grow."""
        return self.worker_id is not None or self.shell.client.deployment(self.id).status in LIVE


def _follow(shell: Shell, source: Source, first: m.Logs) -> None:
    seen, since = first, None
    while True:
        if seen.logs:
            _show(shell, seen)
        since = seen.next_since or since
        if not source.goes_on or (seen.logs and since is None):  # a worker that does not say where it went on from
            return
        shell.clock.sleep(POLL_SECONDS)
        seen = _patiently(source, since)


def _patiently(source: Source, since: str | None) -> m.Logs:
    """The log since `since`; an empty one while the worker cannot be asked, or between two containers."""
    try:
        return source.read_on(since)
    except (Unreachable, Conflict, NotFound):
        if not source.goes_on:
            raise
        return m.Logs("")


def _show(shell: Shell, seen: m.Logs) -> None:
    if shell.json:
        shell.dump_line(seen)
    else:
        click.echo(text.clean(seen.logs), nl=not seen.logs.endswith("\n"))


COMMANDS = (logs,)
