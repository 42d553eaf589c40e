"""The two stacks as they are written: what AWS would refuse, and what must not be lost or left out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app import app
from chalicelib.contract.errors import STATUS
from chalicelib.contract.resources import ErrorBody
from chalicelib.tables import MODELS
from infra.cloud.access import FILES
from infra.cloud.archive import LAMBDA
from infra.cloud.data import indexes_of, table_of

Json = dict[str, Any]
EXPIRING = {"commands", "operations", "events"}


def template(folder: Path, name: str) -> Json:
    found: Json = json.loads((folder / f"{name}.json").read_text())
    return found


def of_type(stack: Json, kind: str) -> dict[str, Json]:
    return {name: each["Properties"] for name, each in stack["Resources"].items() if each["Type"] == kind}


@pytest.mark.parametrize("kind", ["packaged", "packaged_rest"])
def test_cfn_lint_finds_nothing(kind: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(kind)
    linter = [str(Path(sys.executable).with_name("cfn-lint")), "--include-checks", "I", "--"]
    done = subprocess.run(
        [*linter, str(folder / "data.json"), str(folder / "app.json")], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_the_data_outlives_its_stack(packaged: Path) -> None:
    stack = template(packaged, "data")
    assert {name: each["Type"] for name, each in stack["Resources"].items()} == {
        table_of(model).title(): "AWS::DynamoDB::Table" for model in MODELS
    }
    for each in stack["Resources"].values():
        table = each["Properties"]
        assert each["DeletionPolicy"] == each["UpdateReplacePolicy"] == "Retain"
        assert table["BillingMode"] == "PAY_PER_REQUEST" and table["DeletionProtectionEnabled"]
        assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert table["SSESpecification"] == {"SSEEnabled": True}
        expires = table["TableName"].removeprefix("muster-prod-") in EXPIRING
        assert table.get("TimeToLiveSpecification") == ({"AttributeName": "ttl", "Enabled": True} if expires else None)


def test_tables_are_as_the_models_say(packaged: Path) -> None:
    stack = template(packaged, "data")
    for model in MODELS:
        table = stack["Resources"][table_of(model).title()]["Properties"]
        assert [each["IndexName"] for each in table.get("GlobalSecondaryIndexes", [])] == indexes_of(model)
        for keys in [table, *table.get("GlobalSecondaryIndexes", [])]:
            assert [each["KeyType"] for each in keys["KeySchema"]] in (["HASH"], ["HASH", "RANGE"])
    commands = stack["Resources"]["Commands"]["Properties"]["KeySchema"]
    assert [each["AttributeName"] for each in commands] == ["worker_id", "slot"]


@pytest.mark.parametrize("kind", ["packaged", "packaged_rest"])
def test_the_functions(kind: str, request: pytest.FixtureRequest) -> None:
    stack = template(request.getfixturevalue(kind), "app")
    functions = of_type(stack, "AWS::Lambda::Function")
    assert {name: (each["Handler"], each["Timeout"]) for name, each in functions.items()} == {
        "APIHandler": ("app.app", 29),
        "Expire": ("app.expire", 60),
    }
    for each in functions.values():
        assert (each["Runtime"], each["Architectures"], each["MemorySize"]) == (LAMBDA.python, ["arm64"], 1024)
        assert each["Code"] == {"S3Bucket": {"Ref": "CodeBucket"}, "S3Key": {"Ref": "CodeKey"}}
        assert each["Environment"]["Variables"] == {"MUSTER_TABLE_PREFIX": {"Ref": "TablePrefix"}}
        assert "ReservedConcurrentExecutions" not in each
    logs = of_type(stack, "AWS::Logs::LogGroup").values()
    assert {(each["LogGroupName"], each["RetentionInDays"]) for each in logs} == {
        (f"/aws/lambda/{each['FunctionName']}", 30) for each in functions.values()
    }
    (rule,) = of_type(stack, "AWS::Events::Rule").values()
    assert (rule["ScheduleExpression"], rule["State"]) == ("rate(1 minute)", "ENABLED")
    assert rule["Targets"] == [{"Id": "Expire", "Arn": {"Fn::GetAtt": ["Expire", "Arn"]}}]


def test_alarms(packaged: Path) -> None:
    stack = template(packaged, "app")
    alarms = {each["AlarmName"]: each for each in of_type(stack, "AWS::CloudWatch::Alarm").values()}
    api, sweep = "muster-prod", "muster-prod-expire"
    kinds = ("errors", "throttles", "duration")
    assert alarms.keys() == {*(f"{api}-{k}" for k in kinds), *(f"{sweep}-{k}" for k in (*kinds, "not-run"))}
    silent = alarms[f"{sweep}-not-run"]
    assert (silent["MetricName"], silent["ComparisonOperator"]) == ("Invocations", "LessThanThreshold")
    assert silent["TreatMissingData"] == "breaching", "no call is no datum"
    assert stack["Parameters"]["AlarmTopic"]["Default"] == ""


def test_the_http_apis_routes_are_the_apps(packaged: Path) -> None:
    stack = template(packaged, "app")
    keys = [each["RouteKey"] for each in of_type(stack, "AWS::ApiGatewayV2::Route").values()]
    routes = [f"{method} {path}" for path, methods in app.routes.items() for method in methods]
    assert sorted(keys) == sorted([*routes, "$default"])
    (integration,) = of_type(stack, "AWS::ApiGatewayV2::Integration").values()
    assert (integration["PayloadFormatVersion"], integration["IntegrationType"]) == ("2.0", "AWS_PROXY")
    (stage,) = of_type(stack, "AWS::ApiGatewayV2::Stage").values()
    assert (stage["StageName"], stage["AutoDeploy"]) == ("$default", True)
    assert not of_type(stack, "AWS::ApiGateway::RestApi")


def test_a_rest_api_says_everything_in_our_shape_and_has_api_in_its_url_once(packaged_rest: Path) -> None:
    stack = template(packaged_rest, "app")
    (api,) = of_type(stack, "AWS::ApiGateway::RestApi").values()
    assert api["Body"]["paths"].keys() == app.routes.keys()
    responses = api["Body"]["x-amazon-apigateway-gateway-responses"]
    assert {"DEFAULT_4XX", "DEFAULT_5XX", "MISSING_AUTHENTICATION_TOKEN"} <= responses.keys()
    for each in responses.values():
        said = msgspec.json.decode(each["responseTemplates"]["application/json"], type=ErrorBody)
        assert str(STATUS[said.error_code]) == each["statusCode"] and said.message
    (stage,) = of_type(stack, "AWS::ApiGateway::Stage").values()
    assert stage["StageName"] == "muster"
    assert stack["Outputs"]["EndpointURL"]["Value"]["Fn::Sub"].endswith("/muster/")
    assert not of_type(stack, "AWS::ApiGatewayV2::Api")


def test_chalice_alone_packages_a_rest_api(tmp_path: Path) -> None:
    """Without any of infra/cloud: from .chalice alone, for the Python that packages."""
    chalice = str(Path(sys.executable).with_name("chalice"))
    environment = os.environ | {"PIP_NO_DEPS": "1", "AWS_DEFAULT_REGION": "us-east-1"}
    environment.pop("MUSTER_STAGE", None)
    command = [chalice, "package", "--stage", "prod", str(tmp_path)]
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Could not install" not in done.stdout
    stack = template(tmp_path, "sam")
    (api,) = of_type(stack, "AWS::Serverless::Api").values()
    assert api["StageName"] == "muster"
    functions = of_type(stack, "AWS::Serverless::Function")
    assert {each["Timeout"] for each in functions.values()} == {29, 60}
    assert all(each["Architectures"] == ["arm64"] for each in functions.values())
    roles = of_type(stack, "AWS::IAM::Role").values()
    written = {name: json.loads((root / ".chalice" / name).read_text()) for name in FILES}
    given = [role["Policies"][0]["PolicyDocument"] for role in roles]
    assert sorted(given, key=str) == sorted(written.values(), key=str)
