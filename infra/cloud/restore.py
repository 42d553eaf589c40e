"""Makes a stage's tables what others are, which DynamoDB restored from them to a moment in the past.

    python -m infra.cloud.restore --from muster-restored- --to muster-prod-

DynamoDB restores a table only to a new one, which is in no stack, and lacks protection, expiry and recovery of its own.
So the items come back to the tables that there are: what differs is written, what came later is deleted, and the rest
costs a read. Nobody may write meanwhile (docs/operations.md). Whatever interrupts it, a second run does what is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import botocore.session
import click

from chalicelib.store.settings import TABLE_PREFIX
from chalicelib.store.tables import MODELS

Item = dict[str, Any]
WRITES_PER_REQUEST = 25
"""Writes that DynamoDB takes in one request."""
TABLE_NAMES = tuple(str(model.Meta.table_name).removeprefix(TABLE_PREFIX) for model in MODELS)


@click.command()
@click.option("--from", "source", required=True, metavar="PREFIX", help="Of the restored tables' names.")
@click.option("--to", "target", required=True, metavar="PREFIX", help="Of the stage's.")
def main(source: str, target: str) -> None:
    """Make the stage's tables what the restored ones are."""
    client: Any = botocore.session.get_session().create_client("dynamodb")
    for name in TABLE_NAMES:
        client.describe_table(TableName=source + name)  # before anything is changed: all of them are there
    for name in TABLE_NAMES:
        written, deleted = copy(client, source + name, target + name)
        click.echo(f"{target + name}: {written:,} items written, {deleted:,} deleted")


def copy(client: Any, source: str, target: str) -> tuple[int, int]:
    """How many items of `target` were written and deleted so that it is what `source` is."""
    described = client.describe_table(TableName=target)["Table"]["KeySchema"]
    keys = [element["AttributeName"] for element in described]

    def key_of(item: Item) -> tuple[str, ...]:
        return tuple(item[name]["S"] for name in keys)

    there = {key_of(item): item for item in _items(client, target)}
    written = deleted = 0
    batch: list[Item] = []
    for item in _items(client, source):
        if there.pop(key_of(item), None) != item:
            batch.append({"PutRequest": {"Item": item}})
            written += 1
        if len(batch) == WRITES_PER_REQUEST:
            _write(client, target, batch)
            batch = []
    for item in there.values():
        batch.append({"DeleteRequest": {"Key": {name: item[name] for name in keys}}})
        deleted += 1
    for at in range(0, len(batch), WRITES_PER_REQUEST):
        _write(client, target, batch[at : at + WRITES_PER_REQUEST])
    return written, deleted


def _items(client: Any, table: str) -> Iterator[Item]:
    for page in client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
        yield from page["Items"]


def _write(client: Any, table: str, batch: list[Item]) -> None:
    left = {table: batch}
    while left:
        left = client.batch_write_item(RequestItems=left)["UnprocessedItems"]


if __name__ == "__main__":
    main()
