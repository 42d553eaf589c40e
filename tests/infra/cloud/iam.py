"""IAM's verdict on a call, for policies as this project writes them: allowed where a statement allows it, else denied.

A policy with more in it (Deny, NotAction, Condition, wildcards in an action) is refused rather than guessed at.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

BUCKET = "muster-artefacts-123456789012-eu-central-1"
PARTS = {"AWS::Partition": "aws", "AWS::Region": "eu-central-1", "AWS::AccountId": "123456789012", "CodeBucket": BUCKET}


def allows(policy: dict[str, Any], action: str, resource: str, **names: str) -> bool:
    """`names`: the stack's parameters."""
    return any(_matches(statement, action, resource, PARTS | names) for statement in policy["Statement"])


def resource(statement: dict[str, Any], **names: str) -> str:
    return substituted(statement["Resource"], PARTS | names)


def _matches(statement: dict[str, Any], action: str, resource: str, names: dict[str, str]) -> bool:
    assert statement.keys() == {"Effect", "Action", "Resource"} and statement["Effect"] == "Allow", statement
    assert not any("*" in each for each in statement["Action"]), statement
    return action in statement["Action"] and fnmatchcase(resource, substituted(statement["Resource"], names))


def substituted(text: dict[str, str], names: dict[str, str]) -> str:
    """What CloudFormation makes of Fn::Sub."""
    found = text["Fn::Sub"]
    for name, value in names.items():
        found = found.replace(f"${{{name}}}", value)
    assert "${" not in found, f"nobody says what {found} is"
    return found


def table(on: str, prefix: str) -> str:
    """The ARN of a table, or of table/index/name."""
    return f"arn:aws:dynamodb:eu-central-1:123456789012:table/{prefix}{on}"
