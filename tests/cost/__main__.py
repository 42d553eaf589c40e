"""What a control plane in AWS costs a month; `make cost WORKERS=1000 HEARTBEAT=30 API=http GATEWAYS=2`."""

from __future__ import annotations

import sys

import click
import msgspec
from rich.console import Console
from rich.table import Table

import tests.fixtures.credentials  # noqa: F401  # credentials, for a database that needs none
from chalicelib.store import settings
from infra.cloud import prices
from tests.cost import gateways as of_gateways
from tests.cost import month
from tests.cost.bill import CORES, DEPLOYMENTS, ROUND_TRIP, Api, GatewaysMonth, Line, Month, bill, seconds, total
from tests.cost.gateways import CALLERS, SUMS
from tests.cost.month import LOOK_SECONDS, RUNNING
from tests.fixtures import dynoxide

WIDTH = 110
"""Of what nobody looks at in a terminal."""


@click.command()
@click.option("--workers", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--api", type=click.Choice(["http", "rest"]), default="http", show_default=True)
@click.option(
    "--deployments", type=click.IntRange(0), default=DEPLOYMENTS, show_default=True, help="A worker, a month."
)
@click.option("--gateways", type=click.IntRange(0), default=0, show_default=True, help="Of which workers dial each.")
@click.option("--round-trip", default=ROUND_TRIP * 1000, show_default=True, help="To the database, in milliseconds.")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def main(workers: int, api: Api, deployments: int, gateways: int, round_trip: float, output: str) -> None:
    """Count what a fleet of WORKERS does, and print what AWS asks for it."""
    try:
        had = Month(month.count(workers), workers, deployments)
        through = GatewaysMonth(of_gateways.count(workers, gateways), had, gateways) if gateways else None
    except dynoxide.Unavailable as reason:
        sys.exit(f"this counts on a real DynamoDB engine: {reason}")
    lines = bill(had, api, round_trip / 1000)
    lines += through.bill(api, round_trip / 1000) if through else []
    if output == "json":
        counted = {"counted": had.counted, **({"gateways": through.counted} if through else {})}
        document = {"prices": {"region": prices.REGION, "as_of": prices.AS_OF}, **counted, "lines": lines}
        print(msgspec.json.format(msgspec.json.encode({**document, "total": total(lines)})).decode())
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    console.print(_counted(had, through, round_trip / 1000))
    console.print(_bill(lines))
    console.print(_assumed(had, through, round_trip), soft_wrap=True)


def _counted(had: Month, through: GatewaysMonth | None, round_trip: float) -> Table:
    counted = had.counted
    table = Table(title="What was counted")
    for name in ("", "writes", "reads", "calls", "CPU ms", "billed ms", "log bytes", "a month"):
        table.add_column(name, justify="right" if name else "left")
    rows = [
        ("an idle heartbeat", counted.beat, had.beats),
        (f"a sweep over {had.workers:,}", counted.sweep, had.of_sweeps.invocations),
        ("a deployment's life", counted.life, had.lives),
        ("its quick heartbeats", counted.beat * counted.quick, had.lives),
        ("a look of a console tab", counted.look, had.looks),
    ]
    if through:
        of_each = through.counted
        rows += [
            ("a gateway's poll, 304", of_each.poll, through.polls),
            ("the routes in it, once more", of_each.news, through.news),
            ("its registration", of_each.registration, through.registrations),
            (f"its report of {SUMS} sums", of_each.usage, through.reports),
            ("tickets, in a heartbeat", of_each.tickets, through.tickets),
            ("tickets, asked for", of_each.renewal, through.renewals),
        ]
    for what, use, times in rows:
        each = 1000 * seconds(use, round_trip)
        figures = (f"{use.writes:,.2f}", f"{use.reads:,.2f}", f"{use.calls:,.1f}", f"{1000 * use.cpu:,.2f}")
        table.add_row(what, *figures, f"{each:,.1f}", f"{use.logged:,.0f}", f"{times:,.0f}")
    return table


def _bill(lines: list[Line]) -> Table:
    table = Table(title=f"Dollars a month, {prices.REGION}, list prices of {prices.AS_OF}", show_footer=True)
    table.add_column("service", "total")
    table.add_column("what")
    table.add_column("quantity", justify="right")
    table.add_column("unit")
    table.add_column("dollars", f"{total(lines):,.2f}", justify="right")
    for line in lines:
        table.add_row(line.service, line.what, f"{line.quantity:,.0f}", line.unit, f"{line.dollars:,.2f}")
    return table


def _assumed(had: Month, through: GatewaysMonth | None, round_trip: float) -> str:
    text = (
        f"{had.workers:,} workers, a heartbeat every {settings.HEARTBEAT} s, "
        f"{had.deployments} deployments a worker a month with {had.counted.quick} quick heartbeats each.\n"
        f"Assumed: {round_trip:g} ms to DynamoDB and back; this machine's processor time on {CORES:.2f} of a core; "
        "months of 30 days; no free tier.\n"
        f"The console tab is one that nobody touches: it looks every {LOOK_SECONDS:g} s, and the fleet is idle.\n"
        "Not counted: cold starts, TLS, operators who do something. Prices: infra/cloud/prices.py."
    )
    if through:
        text += (
            f"\n{through.gateways} gateways, {CALLERS} keys of callers, {SUMS} pairs of a key and a model in use; "
            f"{RUNNING} models on each worker; each deployment changes the routes {through.counted.changes} times."
        )
    return text


if __name__ == "__main__":
    main()
