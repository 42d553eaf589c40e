"""Whose account, which region, and the clients for it. Both come from the environment, as with every AWS tool."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import NoRegionError
from botocore.session import Session

from infra.cloud.errors import Misuse

Client = Callable[[str], Any]
"""A service's name in, botocore's client for it out."""


@dataclass(frozen=True)
class Account:
    number: str
    region: str
    client: Client
    environment: Mapping[str, str]
    """For a process of its own, as this very caller: whoever had to type a code for it types one only."""


def connect(expected: str | None = None) -> Account:
    """Ask who this is. `expected`: the account that it has to be. Raises Stop, BotoCoreError, ClientError."""
    os.environ.setdefault("AWS_RETRY_MODE", "adaptive")  # a fresh account is throttled sooner than one thinks
    os.environ.setdefault("AWS_MAX_ATTEMPTS", "10")
    session = Session()
    region = os.environ.get("AWS_REGION") or session.get_config_variable("region")
    if not region:
        raise NoRegionError()
    client: Client = functools.cache(lambda service: session.create_client(service, region))
    number = client("sts").get_caller_identity()["Account"]
    if expected and number != expected:
        raise Misuse(f"these credentials are of account {number}, not of {expected}: nothing was touched")
    return Account(number, region, client, _environment(session, region))


def _environment(session: Session, region: str) -> dict[str, str]:
    found = {name: value for name, value in os.environ.items() if name not in {"AWS_PROFILE", "AWS_DEFAULT_PROFILE"}}
    found |= {"AWS_DEFAULT_REGION": region}
    if credentials := session.get_credentials():
        now = credentials.get_frozen_credentials()
        found |= {"AWS_ACCESS_KEY_ID": str(now.access_key), "AWS_SECRET_ACCESS_KEY": str(now.secret_key)}
        found |= {"AWS_SESSION_TOKEN": now.token} if now.token else {}
    return found
