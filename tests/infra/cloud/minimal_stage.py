"""infra.cloud.deploy with a stage that is packaged at once, for tests of the deployment steps:

    python -m tests.infra.cloud.minimal_stage

The data stack is one table, the application a role and a parameter that comes from the data stack.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from infra.cloud.deploy import run


def build(stage: str, folder: Path, rest: bool = False) -> Path:
    """As infra.cloud.package.build does."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data.json").write_text(json.dumps(_data(stage)))
    (folder / "app.json").write_text(json.dumps(_app(stage)))
    with zipfile.ZipFile(folder / "deployment.zip", "w") as archive:
        archive.writestr("app.py", "")
    return folder


def _data(stage: str) -> dict[str, Any]:
    table = {
        "TableName": f"muster-{stage}-credentials",
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": n, "AttributeType": "S"} for n in ("credential_id", "kind", "rank")],
        "KeySchema": [{"AttributeName": "credential_id", "KeyType": "HASH"}],
        "GlobalSecondaryIndexes": [
            {
                "IndexName": "listing",
                "Projection": {"ProjectionType": "KEYS_ONLY"},
                "KeySchema": [
                    {"AttributeName": "kind", "KeyType": "HASH"},
                    {"AttributeName": "rank", "KeyType": "RANGE"},
                ],
            }
        ],
    }
    return {
        "Resources": {"Credentials": {"Type": "AWS::DynamoDB::Table", "Properties": table}},
        "Outputs": {"TablePrefix": {"Value": f"muster-{stage}-"}},
    }


def _app(stage: str) -> dict[str, Any]:
    role = {"RoleName": {"Fn::Sub": "${TablePrefix}role"}, "AssumeRolePolicyDocument": {"Statement": []}}
    return {
        "Parameters": {"TablePrefix": {"Type": "String"}},
        "Resources": {"Role": {"Type": "AWS::IAM::Role", "Properties": role}},
        "Outputs": {"EndpointURL": {"Value": "https://example.com/"}},
    }


if __name__ == "__main__":
    run(build)
