"""What each function may do, action by action and place by place: neither more nor less than it does.

tests/infra/cloud holds this against the calls that the functions make. An action that is missing here is denied there,
and one that nothing needs fails as well.

    python -m infra.cloud.access

writes the policies in .chalice, which `chalice deploy` reads, from the same table. They are for the tables of any
stage, muster-STAGE-…, in any account and region.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chalicelib.routes.wheels import PREFIX
from infra.cloud.names import BUCKET

Grants = dict[str, str]
"""A table, or an index as table/index/name, and DynamoDB's actions on it."""

API: Grants = {
    "heartbeats": "BatchGetItem GetItem PutItem Scan UpdateItem",
    "workers": "BatchGetItem DeleteItem GetItem PutItem Scan UpdateItem",
    "workers/index/free": "Query",
    "workers/index/listing": "Query",
    "deployments": "BatchGetItem ConditionCheckItem DeleteItem GetItem PutItem Scan UpdateItem",
    "deployments/index/listing": "Query",
    "deployments/index/waiting": "Query",
    "commands": "BatchGetItem BatchWriteItem ConditionCheckItem DeleteItem GetItem PutItem Query Scan UpdateItem",
    "operations": "BatchGetItem GetItem PutItem UpdateItem",
    "credentials": "BatchGetItem ConditionCheckItem DeleteItem GetItem PutItem UpdateItem",
    "credentials/index/listing": "Query",
    "events": "BatchWriteItem Query UpdateItem",
}
SWEEP: Grants = {
    "heartbeats": "BatchGetItem ConditionCheckItem GetItem Scan UpdateItem",
    "workers": "BatchGetItem DeleteItem GetItem PutItem Scan UpdateItem",
    "workers/index/free": "Query",
    "workers/index/listing": "Query",
    "deployments": "BatchGetItem GetItem UpdateItem",
    "deployments/index/waiting": "Query",
    "commands": "BatchGetItem BatchWriteItem ConditionCheckItem GetItem PutItem Query",
    "events": "BatchWriteItem",
}
GRANTS = {"api_handler": API, "expire": SWEEP}
"""By chalice's name for a function."""
TABLE = "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${TablePrefix}"
WHEELS = f"arn:${{AWS::Partition}}:s3:::${{CodeBucket}}/{PREFIX}*"
"""What the API's function presigns for hosts: a URL can do what its signer may."""
LOGS = "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:/aws/lambda/"


def policy(function: str, function_name: str) -> dict[str, Any]:
    """A document of CloudFormation's. `function`: chalice's name; `function_name`: Lambda's."""
    logs = _allow("logs", "CreateLogStream PutLogEvents", f"{LOGS}{function_name}:*")
    tables = [_allow("dynamodb", actions, TABLE + on) for on, actions in GRANTS[function].items()]
    wheels = [_allow("s3", "GetObject", WHEELS)] if function == "api_handler" else []
    return {"Version": "2012-10-17", "Statement": [logs, *tables, *wheels]}


def _allow(service: str, actions: str, on: str) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Action": [f"{service}:{action}" for action in actions.split()],
        "Resource": {"Fn::Sub": on},
    }


ANYWHERE = {
    "${AWS::Partition}": "*",
    "${AWS::Region}": "*",
    "${AWS::AccountId}": "*",
    "${TablePrefix}": "muster-*-",
    "${CodeBucket}": f"{BUCKET}*",
}
FILES = {"policy-api.json": "api_handler", "policy-expire.json": "expire"}


def files() -> dict[str, str]:
    """By name, what .chalice has for `chalice deploy`, whose functions have names of any stage."""
    return {name: json.dumps(_plain(policy(function, "muster-*")), indent=2) + "\n" for name, function in FILES.items()}


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    """chalice makes no log group, so the function has to."""
    logs, *others = [statement | {"Resource": _anywhere(statement)} for statement in document["Statement"]]
    return document | {"Statement": [logs | {"Action": ["logs:CreateLogGroup", *logs["Action"]]}, *others]}


def _anywhere(statement: dict[str, Any]) -> str:
    text: str = statement["Resource"]["Fn::Sub"]
    for name, value in ANYWHERE.items():
        text = text.replace(name, value)
    return text


if __name__ == "__main__":
    for name, text in files().items():
        (Path(__file__).resolve().parents[2] / ".chalice" / name).write_text(text)
