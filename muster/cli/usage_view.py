"""muster usage, muster gateways: what callers used of the models, and who serves them."""

from __future__ import annotations

import datetime

import click

from muster.api import gateways as g
from muster.cli import names, text, wanted
from muster.cli.output import Cell
from muster.cli.shell import Shell, command

DAY_SECONDS = 86400
BY = ("key", "model", "day", "key,model")


@command("usage", examples="muster usage\nmuster usage --by model --since 30d\nmuster usage --by key,model -o json")
@click.option("--by", type=click.Choice(BY), default="key", show_default=True, help="What one row is about.")
@click.option(
    "--since", type=wanted.duration, default="7d", show_default=True, help="How far back, in whole days: 1d, 7d, 30d."
)
def usage(shell: Shell, by: str, since: int) -> None:
    """Show what callers used of the models: requests and tokens."""
    days = max(1, -(-since // DAY_SECONDS))
    today = shell.wall().astimezone(datetime.timezone.utc).date()
    first = today - datetime.timedelta(days - 1)
    found = shell.client.usage(by, str(first), str(today))  # type: ignore[arg-type]
    shell.table(
        found,
        f"{by.replace(',', ' ')} requests prompt completion",
        [_row(row, by) for row in found.rows],
        "No usage: callers ask models at a gateway (muster gateways), with a key of muster keys create --role caller",
    )


def _row(row: g.UsageRow, by: str) -> tuple[Cell, ...]:
    sums = (row.requests, row.prompt_tokens, row.completion_tokens)
    return *(getattr(row, name) for name in by.split(",")), *(f"{total}" for total in sums)


@command("gateways", examples="muster gateways\nmuster gateways -o json")
def gateways(shell: Shell) -> None:
    """List the gateways that serve models."""
    found = shell.client.gateways()
    now = shell.wall()
    rows: list[tuple[Cell, ...]] = [
        (
            names.short(each.gateway_id),
            each.url,
            each.version,
            text.ago(datetime.datetime.fromisoformat(each.renewed_at), now),
        )
        for each in found
    ]
    shell.table(g.GatewayList(found), "id url version renewed", rows, "No gateways: muster gateway serve --help")


COMMANDS = (usage, gateways)
