"""Whose account, which region, and the clients for it. Both come from the environment, as with every AWS tool."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import NoRegionError
from botocore.session import Session

from infra.cloud.trouble import USAGE, Stop

Client = Callable[[str], Any]
"""A service's name in, botocore's client for it out."""


@dataclass(frozen=True)
class Account:
    number: str
    region: str
    client: Client


def connect(expected: str | None = None) -> Account:
    """Ask who this is. `expected`: the account that it has to be. Raises Stop, BotoCoreError, ClientError."""
    os.environ.setdefault("AWS_RETRY_MODE", "adaptive")  # a fresh account is throttled sooner than one thinks
    os.environ.setdefault("AWS_MAX_ATTEMPTS", "10")
    session = Session()
    region = os.environ.get("AWS_REGION") or session.get_config_variable("region")
    if not region:
        raise NoRegionError()
    os.environ["AWS_DEFAULT_REGION"] = region  # for PynamoDB, which has a session of its own
    client = functools.cache(lambda service: session.create_client(service, region))
    number = client("sts").get_caller_identity()["Account"]
    if expected and number != expected:
        raise Stop(f"these credentials are of account {number}, not of {expected}: nothing was touched", USAGE)
    return Account(number, region, client)
