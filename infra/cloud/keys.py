"""Admin keys, written straight into the stage's table: there is nobody yet whom the API would let make one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.exceptions import PynamoDBException

from infra.cloud.trouble import Stop

if TYPE_CHECKING:
    from chalicelib.contract.resources import ApiKey

TABLE = "credentials"


def first_admin_key(tables: list[str], now: float) -> ApiKey | None:
    """None where an admin has one. `now`: epoch seconds. Raises Stop, ClientError, BotoCoreError."""
    _use(tables)
    from chalicelib import tokens
    from chalicelib.contract.endpoints import Access

    with _causes():
        return tokens.first_admin_key("first admin", tokens.Principal("make deploy", Access.ADMIN), now)


def another_admin_key(tables: list[str], name: str, now: float) -> ApiKey:
    """`now`: epoch seconds. Raises Stop, ClientError, BotoCoreError."""
    _use(tables)
    from chalicelib import tokens
    from chalicelib.contract.endpoints import Access
    from chalicelib.contract.resources import NewApiKey

    with _causes():
        by = tokens.Principal("make admin-key", Access.ADMIN)
        return tokens.create_key(NewApiKey(name, "admin"), by, now)


def _use(tables: list[str]) -> None:
    """chalicelib reads the names' prefix when it is imported, so not before the stage's tables are known."""
    found = [name for name in tables if name.endswith(TABLE)]
    if not found:
        raise Stop("the stage has no table of credentials: make deploy makes it")
    os.environ["MUSTER_TABLE_PREFIX"] = found[0].removesuffix(TABLE)


@contextmanager
def _causes() -> Iterator[None]:
    """PynamoDB's errors wrap what AWS said."""
    try:
        yield
    except PynamoDBException as error:
        if isinstance(error.cause, ClientError | BotoCoreError):
            raise error.cause from error
        raise
