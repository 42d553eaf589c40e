"""The archive in an emulated Lambda, over a real DynamoDB engine that has the tables and the first credentials."""

from __future__ import annotations

from dataclasses import dataclass

from tests.infra.cloud.lambda_emulator import Function

ACCOUNT = {"AWS_DEFAULT_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
INTRODUCE = """
import sys, time
from chalicelib.auth import tokens
from chalicelib.store import tables
tables.create_tables()
tokens.seed_admin_key(sys.argv[1], time.time())
tokens.seed_registration_token(sys.argv[2], time.time())
"""


@dataclass(frozen=True)
class Cloud:
    url: str
    function: Function
