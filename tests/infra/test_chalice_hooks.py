"""`chalice deploy` as its users type it, in a clone without a wheel and an account that is moto's and empty."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from app import app
from chalicelib.routes import wheels
from infra.cloud.access import FILES, GRANTS
from infra.cloud.api_gateway import GATEWAY_ERRORS
from muster.api.version import WHEEL
from tests.fixtures import ROOT
from tests.infra.cloud.moto_account import REGION, Account, Done, NewAccount
from tests.infra.cloud.moto_stage import Stage

ZIP_AT_MOST = 2_000_000


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, as a fresh clone has it: chalice keeps what it deployed beside the code, and there is no wheel."""
    copy = tmp_path_factory.mktemp("clone") / "muster"
    made = (".venv*", ".git", ".*_cache", ".hypothesis", "__pycache__", "build", "dist", "deploy*ed", "*.whl")
    left_out = shutil.ignore_patterns(*made)
    shutil.copytree(ROOT, copy, ignore=left_out, symlinks=True)
    (copy / ".venv").symlink_to(Path(sys.executable).parents[1])
    return copy


@pytest.fixture(scope="module")
def account(new_account: NewAccount) -> Account:
    return new_account(never_packaged)


def never_packaged(stage: str, folder: Path, rest: bool) -> Path:
    raise AssertionError("chalice packages by itself")


def chalice(project: Path, account: Account, *words: str, **variables: str) -> Done:
    """The `chalice` command in the project, with the account's credentials."""
    command = [str(Path(sys.executable).with_name("chalice")), *words]
    environment = account.environment | {"AWS_DEFAULT_REGION": REGION} | variables
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def stage(project: Path, account: Account) -> Iterator[Stage]:
    done = account.follow("chalice", project=project)
    (url,) = re.findall(r"^ +- Rest API URL: (\S+)$", done.stdout, re.M)
    (key,) = re.findall(r"^Admin API key +(mst_key_\S+)$", done.stdout, re.M)
    with Stage(account, url, key, done.stdout + done.stderr) as stage:
        yield stage


@pytest.fixture(scope="module")
def rest_api(stage: Stage) -> dict[str, Any]:
    (api,) = stage.aws("apigateway").get_rest_apis()["items"]
    found: dict[str, Any] = api
    return found


def test_the_key_opens_the_api_over_the_stages_tables(stage: Stage) -> None:
    assert stage.ask("GET", "/api/whoami") == (200, {"name": "first admin", "role": "admin"})
    for each in stage.functions().values():
        assert each["Environment"]["Variables"]["MUSTER_TABLE_PREFIX"] == "muster-dev-"


def test_the_url_has_api_once(stage: Stage, rest_api: dict[str, Any]) -> None:
    assert re.fullmatch(rf"https://{rest_api['id']}\.execute-api\.\S+/muster/", stage.url)


def test_the_rest_api_has_every_route(stage: Stage, rest_api: dict[str, Any]) -> None:
    resources = stage.aws("apigateway").get_resources(restApiId=rest_api["id"], limit=500)["items"]
    methods = {each["path"]: set(each["resourceMethods"]) for each in resources if each.get("resourceMethods")}
    for path, routes in app.routes.items():
        assert methods[path] >= routes.keys(), path


def test_the_gateways_own_errors_are_in_our_shape(stage: Stage, rest_api: dict[str, Any]) -> None:
    found = stage.aws("apigateway").get_gateway_responses(restApiId=rest_api["id"])["items"]
    said = {each["responseType"]: json.loads(each["responseTemplates"]["application/json"]) for each in found}
    assert {kind: (body["error_code"], body["message"]) for kind, body in said.items()} == GATEWAY_ERRORS


def test_the_functions_have_the_limits_and_policies_that_are_written_in_dot_chalice(stage: Stage) -> None:
    assert "Could not install" not in stage.shown
    functions = stage.functions().values()
    assert {each["Timeout"] for each in functions} == {29, 60}
    assert all(each["Architectures"] == ["arm64"] for each in functions)
    iam = stage.aws("iam")
    given = [
        iam.get_role_policy(RoleName=role["RoleName"], PolicyName=name)["PolicyDocument"]
        for role in iam.list_roles()["Roles"]
        for name in iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]
    ]
    written = [json.loads((ROOT / ".chalice" / name).read_text()) for name in FILES]
    assert sorted(given, key=str) == sorted(written, key=str)


def test_the_archive_has_no_botocore(stage: Stage) -> None:
    sizes = {each["CodeSize"] for each in stage.functions().values()}
    assert max(sizes) < ZIP_AT_MOST


def test_the_sweep_is_scheduled(stage: Stage) -> None:
    (rule,) = stage.aws("events").list_rules()["Rules"]
    assert (rule["ScheduleExpression"], rule["State"]) == ("rate(1 minute)", "ENABLED")


def test_the_policies_open_the_stages_tables(stage: Stage) -> None:
    tables = set(stage.aws("dynamodb").list_tables()["TableNames"])
    for file, function in FILES.items():
        statements = json.loads((ROOT / ".chalice" / file).read_text())["Statement"]
        opened = {each["Resource"] for each in statements}
        for on in GRANTS[function]:
            table, _, index = on.partition("/")
            assert f"muster-dev-{table}" in tables
            arn = f"arn:aws:dynamodb:{REGION}:123456789012:table/muster-dev-{table}" + (f"/{index}" if index else "")
            assert any(fnmatchcase(arn, pattern) for pattern in opened), arn


def test_hosts_get_their_wheels_from_the_bucket(stage: Stage) -> None:
    bucket = stage.functions()["app.app"]["Environment"]["Variables"]["MUSTER_WHEEL_BUCKET"]
    listed = stage.aws("s3").list_objects_v2(Bucket=bucket, Prefix="wheels/")["Contents"]
    assert {each["Key"] for each in listed} == {f"wheels/{each.file}" for each in wheels.lock().wheels}
    statements = json.loads((ROOT / ".chalice" / "policy-api.json").read_text())["Statement"]
    (opened,) = [each["Resource"] for each in statements if each["Action"] == ["s3:GetObject"]]
    assert all(fnmatchcase(f"arn:aws:s3:::{bucket}/{each['Key']}", opened) for each in listed)


def test_the_clone_has_the_wheel_that_hosts_install(stage: Stage, project: Path) -> None:
    assert list((project / "chalicelib" / "static").glob(WHEEL))


def test_a_second_deploy_finds_its_data_and_makes_no_other_key(stage: Stage, project: Path, account: Account) -> None:
    done = chalice(project, account, "deploy")
    assert done.returncode == 0, done.stderr
    assert "Admin API key" not in done.stdout
    assert "muster-dev-data: nothing to change" in done.stderr


def test_a_stage_that_the_configuration_does_not_name_has_tables_of_its_own(
    stage: Stage, project: Path, account: Account
) -> None:
    done = chalice(project, account, "deploy", "--stage", "other")
    assert done.returncode == 0, done.stderr
    assert "muster-other-workers" in stage.aws("dynamodb").list_tables()["TableNames"]
    made = stage.aws("lambda").get_function_configuration(FunctionName="muster-other")
    assert made["Environment"]["Variables"]["MUSTER_TABLE_PREFIX"] == "muster-other-"
    deleted = chalice(project, account, "delete", "--stage", "other")
    assert deleted.returncode == 0, deleted.stderr


@pytest.mark.parametrize(
    ("words", "variables", "said"),
    [
        (["--stage", "Prod"], {}, "--stage: expected 2 to 20 of a-z, 0-9 and -, the first a letter, got 'Prod'"),
        (["--stage", "local"], {}, "the stage local is for this machine: chalice local"),
        ([], {"AWS_REGION": "", "AWS_DEFAULT_REGION": ""}, "no region: export AWS_REGION=eu-central-1"),
        ([], {"MUSTER_TABLE_PREFIX": "theirs-"}, "MUSTER_TABLE_PREFIX is 'theirs-'"),
        (["--profile", "nobody"], {}, "nobody"),
    ],
)
def test_what_cannot_be_deployed_changes_nothing_and_says_what_to_do(
    stage: Stage, project: Path, account: Account, words: list[str], variables: dict[str, str], said: str
) -> None:
    before = set(stage.aws("dynamodb").list_tables()["TableNames"]), stage.functions().keys()
    done = chalice(project, account, "deploy", *words, **variables)
    assert done.returncode == 2 and said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert (set(stage.aws("dynamodb").list_tables()["TableNames"]), stage.functions().keys()) == before
