"""What each function may do, action by action and table by table: neither more nor less than it does.

tests/cloud holds this against the calls that the functions make. An action that is missing here denies something there,
and one that nothing needs fails as well.
"""

from __future__ import annotations

from typing import Any

Grants = dict[str, tuple[str, ...]]
"""A table, or an index as table/index/name, and the actions of DynamoDB on it."""

READ, WRITE = ("GetItem",), ("PutItem", "UpdateItem", "DeleteItem")

API: Grants = {}
SWEEP: Grants = {}
GRANTS = {"api_handler": API, "expire": SWEEP}
"""By chalice's name for a function."""

TABLE = "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${TablePrefix}"
LOGS = "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:/aws/lambda/"


def policy(function: str, function_name: str) -> dict[str, Any]:
    """`function`: chalice's name; `function_name`: Lambda's."""
    logs = {
        "Effect": "Allow",
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": {"Fn::Sub": f"{LOGS}{function_name}:*"},
    }
    tables = [
        {
            "Effect": "Allow",
            "Action": [f"dynamodb:{action}" for action in sorted(actions)],
            "Resource": {"Fn::Sub": f"{TABLE}{table}"},
        }
        for table, actions in sorted(GRANTS[function].items())
    ]
    return {"Version": "2012-10-17", "Statement": [logs, *tables]}
