"""The application stack: its functions, their logs and their schedule, whichever gateway is before them."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.cloud.archive import LAMBDA
from tests.infra.cloud.templates import of_type, template


@pytest.mark.parametrize("kind", ["packaged", "packaged_rest"])
def test_the_functions_have_their_limits_and_know_the_tables_and_the_apis_the_wheels(
    kind: str, request: pytest.FixtureRequest
) -> None:
    functions = of_type(template(request.getfixturevalue(kind), "app"), "AWS::Lambda::Function")
    assert {name: (each["Handler"], each["Timeout"]) for name, each in functions.items()} == {
        "APIHandler": ("app.app", 29),
        "Expire": ("app.expire", 60),
    }
    tables, bucket = {"Ref": "TablePrefix"}, {"Ref": "CodeBucket"}
    given = {name: each["Environment"]["Variables"] for name, each in functions.items()}
    assert given == {
        "APIHandler": {"MUSTER_TABLE_PREFIX": tables, "MUSTER_WHEEL_BUCKET": bucket},
        "Expire": {"MUSTER_TABLE_PREFIX": tables},
    }
    for each in functions.values():
        assert (each["Runtime"], each["Architectures"], each["MemorySize"]) == (LAMBDA.python, ["arm64"], 1024)
        assert each["Code"] == {"S3Bucket": {"Ref": "CodeBucket"}, "S3Key": {"Ref": "CodeKey"}}
        assert "ReservedConcurrentExecutions" not in each


def test_each_function_has_a_role_of_its_own_and_a_log_group_that_is_kept_30_days(packaged: Path) -> None:
    stack = template(packaged, "app")
    functions = of_type(stack, "AWS::Lambda::Function")
    logs = of_type(stack, "AWS::Logs::LogGroup").values()
    assert {(each["LogGroupName"], each["RetentionInDays"]) for each in logs} == {
        (f"/aws/lambda/{each['FunctionName']}", 30) for each in functions.values()
    }
    roles = of_type(stack, "AWS::IAM::Role")
    assert {each["Role"]["Fn::GetAtt"][0] for each in functions.values()} == roles.keys()
    assert all(stack["Resources"][name]["DependsOn"] == [f"{name}Logs"] for name in functions)


def test_the_sweep_is_called_every_minute_and_may_be(packaged: Path) -> None:
    stack = template(packaged, "app")
    ((name, rule),) = of_type(stack, "AWS::Events::Rule").items()
    assert (rule["ScheduleExpression"], rule["State"]) == ("rate(1 minute)", "ENABLED")
    assert rule["Targets"] == [{"Id": "Expire", "Arn": {"Fn::GetAtt": ["Expire", "Arn"]}}]
    permission = of_type(stack, "AWS::Lambda::Permission")["ExpirePermission"]
    assert permission["FunctionName"] == {"Ref": "Expire"} and permission["SourceArn"] == {"Fn::GetAtt": [name, "Arn"]}


def test_what_the_stack_has_to_be_told_is_its_code_its_tables_and_who_hears_of_alarms(packaged: Path) -> None:
    parameters = template(packaged, "app")["Parameters"]
    assert {name: each.get("Default") for name, each in parameters.items()} == {
        "CodeBucket": None,
        "CodeKey": None,
        "TablePrefix": None,
        "AlarmTopic": "",
    }
