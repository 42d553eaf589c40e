"""Admin keys, written straight into the stage's table: there is nobody yet whom the API would let make one.

    MUSTER_TABLE_PREFIX=muster-prod- python -m infra.cloud.keys first

chalicelib reads the tables' prefix when it is imported, and whatever packages the application has imported it. So this
is a process of its own. It answers with a line of JSON: the key, or null where there is an admin's already.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import click
import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.exceptions import PynamoDBException

from chalicelib.auth import tokens
from infra.cloud.errors import Stop, explained
from infra.cloud.session import Account
from muster.api.endpoints import Access
from muster.api.resources import ApiKey, NewApiKey

PROJECT = Path(__file__).resolve().parents[2]
TABLE = "credentials"


def first(account: Account, tables: list[str]) -> ApiKey | None:
    """Make a key if no admin has one. `tables`: the stage's. Raises Stop."""
    return _ask("first", account, tables)


def another(account: Account, tables: list[str]) -> ApiKey:
    """Raises Stop."""
    made = _ask("another", account, tables)
    assert made is not None, "another is always made"
    return made


def _ask(which: str, account: Account, tables: list[str]) -> ApiKey | None:
    found = [name for name in tables if name.endswith(TABLE)]
    if not found:
        raise Stop("the stage has no table of credentials: make deploy makes it")
    environment = {**account.environment, "MUSTER_TABLE_PREFIX": found[0].removesuffix(TABLE)}
    command = [sys.executable, "-m", "infra.cloud.keys", which]
    done = subprocess.run(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE)
    if done.returncode:
        raise SystemExit(done.returncode)  # it has said why
    return msgspec.json.decode(done.stdout, type=ApiKey | None)


@click.command()
@click.argument("which", type=click.Choice(["first", "another"]))
def main(which: str) -> None:
    now = time.time()
    try:
        made = _first(now) if which == "first" else _another(now)
    except PynamoDBException as error:
        if isinstance(error.cause, ClientError | BotoCoreError):
            raise explained(error.cause) from error
        raise
    click.echo(msgspec.json.encode(made))


def _first(now: float) -> ApiKey | None:
    return tokens.first_admin_key("first admin", tokens.Principal("make deploy", Access.ADMIN), now)


def _another(now: float) -> ApiKey:
    """Under a name that no other has, since keys are revoked by name."""
    name = time.strftime("admin of %Y-%m-%d %H:%M:%S", time.gmtime(now))
    return tokens.create_key(NewApiKey(name, "admin"), tokens.Principal("make admin-key", Access.ADMIN), now)


if __name__ == "__main__":
    main()
