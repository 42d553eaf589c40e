"""make deploy, admin-key and destroy, from nothing to a running stage and back, in an account that is moto's.

moto makes no HTTP API, alarm, TTL or point-in-time recovery from a template; moto_extensions.py does, in moto's own
backends. Nothing runs behind the API here: the app is asked in a process with the environment of the function.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chalicelib.routes import wheels
from chalicelib.store.settings import TABLE_PREFIX
from chalicelib.store.tables import MODELS
from muster.api.endpoints import ENDPOINTS
from tests.infra.cloud import minimal_stage
from tests.infra.cloud.moto_account import NUMBER, REGION, Done, NewAccount
from tests.infra.cloud.moto_stage import Stage

BUCKET = f"muster-artefacts-{NUMBER}-{REGION}"
DEPLOY = ("deploy", "--stage", "prod")


@pytest.fixture(scope="module")
def stage(packaged: Path, new_account: NewAccount) -> Iterator[Stage]:
    """First by the documented command as a process, which packages by itself; later commands use what is packaged."""

    def package(stage: str, folder: Path, rest: bool) -> Path:
        return packaged if stage == "prod" else minimal_stage.build(stage, packaged.parent / stage)

    account = new_account(package)
    done = account.follow("deploy", as_processes=True)
    with Stage(account, url_in(done), key_in(done), done.stderr) as stage:
        yield stage


def url_in(done: Done) -> str:
    (url,) = re.findall(r"^URL +(https://\S*[^/\s])$", done.stdout, re.M)
    return str(url)


def key_in(done: Done) -> str:
    (key,) = re.findall(r"^Admin API key +(mst_key_\S+)$", done.stdout, re.M)
    return str(key)


def test_the_first_key_opens_the_api(stage: Stage) -> None:
    assert stage.ask("GET", "/api/whoami") == (200, {"name": "first admin", "role": "admin"})
    assert stage.ask("GET", "/api/whoami", key="mst_key_" + "x" * 43)[0] == 401
    assert stage.key not in stage.shown


def _range_key(index: Any) -> str:
    return next(str(key.attr_name) for key in vars(type(index)).values() if getattr(key, "is_range_key", False))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.Meta.table_name)
def test_a_table_is_as_its_model_says(stage: Stage, model: Any) -> None:
    client, name = stage.aws("dynamodb"), "muster-prod-" + model.Meta.table_name.removeprefix(TABLE_PREFIX)
    table = client.describe_table(TableName=name)["Table"]
    names = [model._hash_keyname, *([model._range_keyname] if model._range_keyname else [])]
    assert [(key["AttributeName"], key["KeyType"]) for key in table["KeySchema"]] == list(
        zip(names, ("HASH", "RANGE"), strict=False)
    )
    indexes = {each["IndexName"]: each for each in table.get("GlobalSecondaryIndexes", [])}
    assert indexes.keys() == model._indexes.keys()
    for index, made in model._indexes.items():
        keys = {each["KeyType"]: each["AttributeName"] for each in indexes[index]["KeySchema"]}
        assert keys == {"HASH": made._hash_key_attribute().attr_name, "RANGE": _range_key(made)}
        projected = indexes[index]["Projection"]
        assert projected["ProjectionType"] == made.Meta.projection.projection_type
        assert projected.get("NonKeyAttributes", []) == (made.Meta.projection.non_key_attributes or [])
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert table["DeletionProtectionEnabled"] is True
    recovery = client.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    assert recovery["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
    ttl = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    assert ttl.get("AttributeName") == ("ttl" if name.endswith(("-commands", "-operations", "-events")) else None)


def test_the_functions_have_the_limits_the_table_prefix_and_a_log_group_each(stage: Stage) -> None:
    functions = stage.functions()
    assert functions.keys() == {"app.app", "app.expire"}
    for each in functions.values():
        limits = {"app.app": 29, "app.expire": 60}
        assert (each["Architectures"], each["MemorySize"], each["Timeout"]) == (
            ["arm64"],
            1024,
            limits[each["Handler"]],
        )
        reserved = stage.aws("lambda").get_function_concurrency(FunctionName=each["FunctionName"])
        assert "ReservedConcurrentExecutions" not in reserved, "a fresh account has too little to reserve any"
        assert each["Environment"]["Variables"]["MUSTER_TABLE_PREFIX"] == "muster-prod-"
        assert stage.aws("logs").describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{each['FunctionName']}")[
            "logGroups"
        ]


def test_hosts_get_their_wheels_from_the_bucket(stage: Stage) -> None:
    function = stage.functions()["app.app"]
    assert function["Environment"]["Variables"]["MUSTER_WHEEL_BUCKET"] == BUCKET
    assert "MUSTER_WHEEL_BUCKET" not in stage.functions()["app.expire"]["Environment"]["Variables"]
    assert f"{len(wheels.lock().wheels)} wheels for hosts uploaded" in stage.shown
    listed = stage.aws("s3").list_objects_v2(Bucket=BUCKET, Prefix="wheels/")["Contents"]
    own = wheels.own()
    assert own is not None
    assert {each["Key"] for each in listed} == {own.key, *(wheel.key for wheel in wheels.lock().wheels)}


def test_the_schedule_calls_the_function_that_records_what_silence_means(stage: Stage) -> None:
    events = stage.aws("events")
    (rule,) = events.list_rules()["Rules"]
    assert (rule["ScheduleExpression"], rule["State"]) == ("rate(1 minute)", "ENABLED")
    (target,) = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
    assert target["Arn"] == stage.functions()["app.expire"]["FunctionArn"]


def test_the_http_api_has_every_route(stage: Stage) -> None:
    client = stage.aws("apigatewayv2")
    (api,) = client.get_apis()["Items"]
    assert api["ProtocolType"] == "HTTP" and stage.url == api["ApiEndpoint"]
    (found,) = client.get_stages(ApiId=api["ApiId"])["Items"]
    assert (found["StageName"], found["AutoDeploy"]) == ("$default", True)
    routes = {each["RouteKey"] for each in client.get_routes(ApiId=api["ApiId"])["Items"]}
    assert routes >= {f"{each.method} {each.path}" for each in ENDPOINTS}
    (integration,) = client.get_integrations(ApiId=api["ApiId"])["Items"]
    assert stage.functions()["app.app"]["FunctionName"] in integration["IntegrationUri"]
    assert integration["PayloadFormatVersion"] == "2.0"


def test_alarms_watch_errors_throttles_and_durations(stage: Stage) -> None:
    alarms = stage.aws("cloudwatch").describe_alarms()["MetricAlarms"]
    assert {"Errors", "Throttles", "Duration"} <= {each["MetricName"] for each in alarms}


def test_a_second_deploy_changes_nothing_and_makes_no_second_key(stage: Stage) -> None:
    before = stage.aws("cloudformation").describe_stacks()["Stacks"]
    objects = stage.aws("s3").list_object_versions(Bucket=BUCKET)["Versions"]
    done = stage.account.ok(*DEPLOY)
    assert done.stdout == f"URL            {stage.url}\n"
    for name in ("muster-prod-data", "muster-prod-app"):
        assert f"{name}: nothing to change" in done.stderr
    assert stage.aws("cloudformation").describe_stacks()["Stacks"] == before
    assert stage.aws("s3").list_object_versions(Bucket=BUCKET)["Versions"] == objects
    assert len(stage.ask("GET", "/api/api-keys")[1]["api_keys"]) == 1


def test_a_dry_run_leaves_nothing_behind(stage: Stage) -> None:
    assert "muster-prod-app: nothing to change" in stage.account.follow("careful").stderr
    done = stage.account.ok("deploy", "--stage", "dry", "--dry-run")
    assert "muster-dry-data: Add " in done.stderr and done.stdout == ""
    stacks = [each["StackName"] for each in stage.aws("cloudformation").describe_stacks()["Stacks"]]
    assert not [name for name in stacks if "dry" in name]


def test_the_bucket_is_private_encrypted_and_versioned(stage: Stage) -> None:
    s3, ours = stage.aws("s3"), {"Bucket": BUCKET}
    assert set(s3.get_public_access_block(**ours)["PublicAccessBlockConfiguration"].values()) == {True}
    (rule,) = s3.get_bucket_encryption(**ours)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert s3.get_bucket_versioning(**ours)["Status"] == "Enabled"
    (rule,) = s3.get_bucket_lifecycle_configuration(**ours)["Rules"]
    assert rule["Status"] == "Enabled" and "Expiration" not in rule, "a roll-back needs what it had"
    (statement,) = json.loads(s3.get_bucket_policy(**ours)["Policy"])["Statement"]
    assert statement["Effect"] == "Deny" and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert s3.head_bucket(**ours)["BucketRegion"] == REGION


def test_a_lost_key_is_replaced(stage: Stage) -> None:
    done = stage.account.follow("lost")
    key = key_in(done)
    status, me = stage.ask("GET", "/api/whoami", key=key)
    assert status == 200 and me["role"] == "admin" and repr(me["name"]) in done.stderr
    keys = {each["name"]: each["key_id"] for each in stage.ask("GET", "/api/api-keys")[1]["api_keys"]}
    assert keys.keys() == {"first admin", me["name"]}
    assert stage.ask("DELETE", f"/api/api-keys/{keys[me['name']]}")[0] == 200
    assert stage.ask("GET", "/api/whoami", key=key)[0] == 401


def test_the_application_is_destroyed_and_made_again_over_the_kept_data(stage: Stage) -> None:
    wanted = '{"model": "org/tiny", "name": "kept", "gpus": 0}'
    assert stage.ask("POST", "/api/deployments", wanted)[0] == 201
    refused = stage.account.run("destroy", "--stage", "prod", typed="production\n")
    assert refused.returncode == 2 and "that is not prod: nothing was deleted" in refused.stderr
    assert stage.functions()

    done = stage.account.follow("destroy", typed="prod\n")
    assert "The data is kept" in done.stderr
    assert stage.functions() == {} and stage.aws("apigatewayv2").get_apis()["Items"] == []
    (left,) = stage.aws("cloudformation").describe_stacks()["Stacks"]
    assert left["StackName"] == "muster-prod-data"
    assert "nothing to delete" in stage.account.ok("destroy", "--stage", "prod", typed="prod\n").stderr

    done = stage.account.ok(*DEPLOY)
    assert "Admin API key" not in done.stdout
    stage.url = url_in(done)
    assert stage.ask("GET", "/api/whoami")[1] == {"name": "first admin", "role": "admin"}
    found = stage.ask("GET", "/api/deployments")[1]["deployments"]
    assert [each["name"] for each in found] == ["kept"]


def test_the_data_is_deleted_for_good_only_by_hand(stage: Stage) -> None:
    stage.account.follow("look")
    stage.account.ok("destroy", "--stage", "prod", typed="prod\n")
    assert len(stage.aws("dynamodb").list_tables()["TableNames"]) == len(MODELS)
    stage.account.follow("forget")
    assert stage.aws("dynamodb").list_tables()["TableNames"] == []
    assert stage.aws("cloudformation").describe_stacks()["Stacks"] == []
    before, done = stage.key, stage.account.ok(*DEPLOY)
    stage.url, stage.key = url_in(done), key_in(done)
    assert stage.key != before, "and begun again from nothing"
