"""The data of a stage: its stack, its first admin key, and the wheels for its hosts. It comes first, and stays.

`infra.cloud.deploy` makes it before the application; `chalice deploy`, which makes the application itself, calls
`make_data` (infra/chalice_hooks.py).
"""

from __future__ import annotations

import click
from rich.console import Console

from chalicelib.routes import wheels
from infra import wheelhouse
from infra.cloud import data, keys
from infra.cloud.artefacts import Bucket
from infra.cloud.session import Account, connect
from infra.cloud.stacks import Stacks
from muster.api.resources import ApiKey


class Tell:
    """Progress, for people. Without colors where nobody looks."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, soft_wrap=True)

    def __call__(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False)

    def step(self, title: str) -> None:
        self._console.print(f"==> {title}", style="bold", markup=False, highlight=False)


def make_data(stage: str) -> str:
    """Make the stage's tables and first admin key, for `chalice deploy`, which makes the application.

    Returns the bucket that has the wheels for hosts.

    Raises Stop, BotoCoreError, ClientError.
    """
    tell = Tell()
    where = sign_in(None, tell)
    stacks = Stacks(where.client("cloudformation"), tell)
    stacks.refuse_if_busy(stacks.look(data_stack(stage)))
    tell.step(f"Data: stack {data_stack(stage)}")
    bucket = Bucket(where)
    bucket.ensure()
    upload_wheels(bucket, tell)
    stacks.put(data_stack(stage), bucket.put_template(stage, data.template(stage)), {}, holds_data=True)
    show(first_key(where, stacks, stage, tell))
    return bucket.name


def first_key(where: Account, stacks: Stacks, stage: str, tell: Tell) -> ApiKey | None:
    tell.step("First admin key")
    made = keys.first(where, stacks.tables(data_stack(stage)))
    tell("made" if made else f"is there; for a lost one: make admin-key STAGE={stage}")
    return made


def show(made: ApiKey | None) -> None:
    if made:
        click.echo(f"Admin API key  {made.key}\nKeep it; it is not shown again.")


def sign_in(expected: str | None, tell: Tell) -> Account:
    where = connect(expected)
    tell.step(f"Account {where.number}, region {where.region}")
    return where


def data_stack(stage: str) -> str:
    return f"muster-{stage}-data"


def upload_wheels(bucket: Bucket, tell: Tell) -> None:
    """Before the application: it redirects hosts to them."""
    uploaded = bucket.put_wheels(wheelhouse.ensure(), wheels.lock().wheels)
    tell(f"{uploaded} wheels for hosts uploaded" if uploaded else "has the wheels for hosts")
